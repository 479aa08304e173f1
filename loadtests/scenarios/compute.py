"""Somebody whose view computes; the processor is the limit, whatever the server."""

from __future__ import annotations

from locust import FastHttpUser, constant, task


class Computer(FastHttpUser):
    wait_time = constant(0)

    @task
    def compute(self) -> None:
        self.client.get("/loadtest/compute")
