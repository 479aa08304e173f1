"""Somebody who holds an event stream open."""

from __future__ import annotations

import http.client

from loadtests.scenarios.live import CHANNEL, SILENCE_S, LiveUser


class SseListener(LiveUser):
    method = "SSE"

    def listen(self) -> None:
        connection = http.client.HTTPConnection(*self.address, timeout=SILENCE_S)
        try:
            connection.request("GET", f"/live/events?channel={CHANNEL}")
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise ConnectionError(f"the stream was answered {response.status}")
            while line := response.readline():
                if line.startswith(b"data:"):
                    self.take(line[5:].decode())
            raise ConnectionError("the stream ended")
        finally:
            connection.close()
