"""A program that reads the JSON API."""

from __future__ import annotations

from locust import FastHttpUser, constant, task


class ApiReader(FastHttpUser):
    wait_time = constant(0)

    @task(1)
    def posts(self) -> None:
        self.client.get("/api/v1/posts")

    @task(3)
    def post(self) -> None:
        self.client.get("/api/v1/posts/1")
