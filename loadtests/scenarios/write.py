"""Somebody who is logged in and writes."""

from __future__ import annotations

from locust import FastHttpUser, constant, task

from loadtests.scenarios import account


class Writer(FastHttpUser):
    wait_time = constant(0)

    def on_start(self) -> None:
        self.token = account.log_in(self)

    @task
    def write(self) -> None:
        account.write_post(self, self.token)
