"""A visitor: mostly reads, thinks in between, sometimes waits or writes."""

from __future__ import annotations

from locust import FastHttpUser, between, task

from loadtests.scenarios import account


class Visitor(FastHttpUser):
    wait_time = between(0.2, 1.0)
    token: str | None = None

    @task(8)
    def timeline(self) -> None:
        self.client.get("/")

    @task(6)
    def post(self) -> None:
        self.client.get("/post/1")

    @task(3)
    def api(self) -> None:
        self.client.get("/api/v1/posts")

    @task(2)
    def wait(self) -> None:
        self.client.get("/loadtest/wait")

    @task(1)
    def write(self) -> None:
        if self.token is None:
            self.token = account.log_in(self)
        account.write_post(self, self.token)
