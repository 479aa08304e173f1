"""`GET /pulse/stream`: the numbers of this server process, once a second, as server-sent events.

One ticker for all who look: the numbers are read and encoded once, whoever waits gets the same
bytes. Without anybody it does not run.
"""

from __future__ import annotations

import asyncio
import json
import time

from tornado.iostream import StreamClosedError

from async_handlers.pulse.access import PulseBase
from async_handlers.pulse.numbers import Pulse
from flasknado import HTTPServer, Refused, read_metrics

BEAT_S = 1.0
MAX_WATCHERS = 100
SETTING = "pulse_ticker"


class Ticker:
    """Reads the numbers as long as somebody waits for them; on the loop's thread."""

    def __init__(self, server: HTTPServer) -> None:
        self._server = server
        self._next: asyncio.Future[bytes] | None = None
        self.watchers = 0

    async def next(self) -> bytes:
        """Return the next event, encoded."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            self._task = asyncio.ensure_future(self._run())
        return await asyncio.shield(self._next)

    async def _run(self) -> None:
        pulse = Pulse()
        pulse.beat(read_metrics(self._server), BEAT_S, 0.0)
        while self.watchers and not self._server.draining:
            began = time.monotonic()
            await asyncio.sleep(BEAT_S)
            elapsed_s = time.monotonic() - began
            lag_s = max(0.0, elapsed_s - BEAT_S)
            numbers = pulse.beat(read_metrics(self._server), elapsed_s, lag_s)
            waiting, self._next = self._next, asyncio.get_running_loop().create_future()
            if waiting is not None:
                waiting.set_result(f"event: pulse\ndata: {json.dumps(numbers)}\n\n".encode())
        if self._next is not None:
            self._next.set_result(b"retry: 2000\n\n")
        self._next = None


class PulseStreamHandler(PulseBase):
    """Sends each beat to one who looks."""

    async def get(self) -> None:
        await self.access()
        ticker = self.settings.setdefault(SETTING, Ticker(self.settings["http_server"]))
        if ticker.watchers >= MAX_WATCHERS:
            raise Refused(503, "too many look at the pulse already")
        ticker.watchers += 1
        self.set_header("Content-Type", "text/event-stream")
        try:
            await self.flush()
            while not self.client_gone and not self.settings["http_server"].draining:
                self.write(await ticker.next())
                await self.flush()
        except StreamClosedError:
            pass  # whoever looked is gone
        finally:
            ticker.watchers -= 1

    def on_connection_close(self) -> None:
        self.client_gone = True
        super().on_connection_close()
