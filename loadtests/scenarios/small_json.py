"""A program that asks for a small JSON answer."""

from __future__ import annotations

from locust import FastHttpUser, constant, task


class JsonReader(FastHttpUser):
    wait_time = constant(0)

    @task
    def small(self) -> None:
        self.client.get("/loadtest/json")
