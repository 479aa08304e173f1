"""Whoever makes the events that the live clients wait for, at a steady rate."""

from __future__ import annotations

import time
import uuid

from locust import FastHttpUser, constant_throughput, task

EVENTS_PER_S = 5


class Publisher(FastHttpUser):
    fixed_count = 1
    wait_time = constant_throughput(EVENTS_PER_S)

    def on_start(self) -> None:
        self.name, self.number = uuid.uuid4().hex, 0

    @task
    def publish(self) -> None:
        tick = {"publisher": self.name, "number": self.number + 1, "sent_s": time.time()}
        if self.client.post("/loadtest/publish", json=tick).status_code == 200:
            self.number += 1
