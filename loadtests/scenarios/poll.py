"""Somebody who asks again and again, each time until something happens."""

from __future__ import annotations

import http.client
import json
from urllib.parse import quote

from loadtests.scenarios.live import CHANNEL, SILENCE_S, LiveUser


class LongPoller(LiveUser):
    method = "POLL"

    def listen(self) -> None:
        connection = http.client.HTTPConnection(*self.address, timeout=2 * SILENCE_S)
        cursor = ""
        try:
            while True:
                after = f"&after={quote(cursor)}" if cursor else ""
                path = f"/live/poll?channel={CHANNEL}&timeout_s={SILENCE_S:g}{after}"
                connection.request("GET", path)
                response = connection.getresponse()
                body = response.read()
                if response.status != http.client.OK:
                    raise ConnectionError(f"the poll was answered {response.status}")
                answer = json.loads(body)
                if cursor and not answer["events"]:
                    raise TimeoutError(f"nothing arrived for {SILENCE_S:g} s")
                cursor = answer["cursor"]
                for event in answer["events"]:
                    self.take(json.dumps(event))
        finally:
            connection.close()
