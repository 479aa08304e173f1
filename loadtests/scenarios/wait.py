"""Somebody whose view waits for something else: a slow query, another service."""

from __future__ import annotations

from locust import FastHttpUser, constant, task


class Waiter(FastHttpUser):
    wait_time = constant(0)

    @task
    def wait(self) -> None:
        self.client.get("/loadtest/wait")
