"""Somebody who reads the site's pages."""

from __future__ import annotations

from locust import FastHttpUser, constant, task


class PageReader(FastHttpUser):
    wait_time = constant(0)

    @task(3)
    def timeline(self) -> None:
        self.client.get("/")

    @task(2)
    def post(self) -> None:
        self.client.get("/post/1")

    @task(1)
    def profile(self) -> None:
        self.client.get("/ada")
