"""What live clients have in common: counting what arrives, and how long it took.

A delivery is one locust request whose response time runs from when the publisher asked until the
event was here; a gap in the publisher's numbers, or silence, is a failure. Publisher and clients
read one clock, so they must be on one machine (the server need not be).
"""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import urlsplit

from locust import User, constant, task
from locust.exception import StopUser

CHANNEL = "posts"
EVENT = "loadtest.tick"
SILENCE_S = 3.0
"""How long nothing may arrive; the publisher sends several times a second."""
_RETRY_S = 0.5


class Lost(Exception):
    """Events that never arrived; the message says how many."""


class LiveUser(User):
    """Holds a connection for as long as it lives, and opens another when it is cut."""

    abstract = True
    wait_time = constant(_RETRY_S)
    method = ""

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        parts = urlsplit(self.host or environment.host)
        self.address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.numbers: dict[str, int] = {}

    def listen(self) -> None:
        """Receive until cut, giving each message to `take`; raises `OSError` when cut."""
        raise NotImplementedError

    @task
    def follow(self) -> None:
        try:
            self.listen()
        except StopUser:
            raise
        except Exception as error:  # whatever it is, a reader sees it in the report
            self._fire("connection", 0.0, error)

    def take(self, message: str | bytes) -> None:
        """Count one event's JSON."""
        event = json.loads(message)
        # A WebSocket also gets answers, which have no name.
        if event.get("event") == EVENT:
            data = event["data"]
            last = self.numbers.get(data["publisher"])
            self.numbers[data["publisher"]] = data["number"]
            for missing in range((last or data["number"]) + 1, data["number"]):
                self._fire("delivery", 0.0, Lost(f"event {missing} never arrived"))
            self._fire("delivery", (time.time() - data["sent_s"]) * 1000)

    def _fire(self, name: str, milliseconds: float, error: Exception | None = None) -> None:
        self.environment.events.request.fire(
            request_type=self.method,
            name=name,
            response_time=milliseconds,
            response_length=0,
            exception=error,
            context={},
        )
