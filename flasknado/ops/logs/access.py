"""The access log: one line for each finished exchange on either half.

Streams and connections that left HTTP (WebSocket, live events) are logged at their end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from flasknado.http.counters import EndHook
from flasknado.http.message import Address, RequestHead
from flasknado.ops.logs.access_lines import Exchange, JSONTemplate, Template
from flasknado.ops.logs.writer import LogWriter

CLOSE_TIMEOUT_S = 2.0
"""How long the end of a worker may wait for its access log."""


class AccessLog:
    """Writes the lines of one server; belongs to the loop's thread."""

    def __init__(
        self,
        template: Template | JSONTemplate,
        logger: logging.Logger,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.writer = LogWriter(logger, loop, template.line)
        self._template = template
        self._open: set[_Open] = set()

    def log(
        self,
        head: RequestHead | None,
        status: int,
        sent_bytes: int,
        duration_s: float,
        half: str,
        route: str,
        peer: Address | None = None,
    ) -> None:
        """Log an exchange that has ended; `peer` is who asked if the head is not known."""
        self.writer.note(
            Exchange(head, status, sent_bytes, duration_s, half, route, time.time(), peer)
        )

    def log_at_end(
        self,
        head: RequestHead,
        status: int,
        sent_bytes: int,
        duration_s: float,
        half: str,
        route: str,
    ) -> EndHook:
        """Log a connection that leaves HTTP now, when the returned function is called."""
        exchange = Exchange(head, status, sent_bytes, duration_s, half, route, 0.0)
        began_at = time.monotonic() - duration_s
        item = _Open(self._template.begun(exchange), status, sent_bytes, began_at, half, route)
        self._open.add(item)

        def ended(sent_since_bytes: int) -> None:
            if item in self._open:
                self._open.remove(item)
                self.writer.write(item.line(sent_since_bytes))

        return ended

    def close(self) -> None:
        """Log what is still open, as it ends with the process, and write all that waits."""
        for item in self._open:
            self.writer.write(item.line(0))
        self._open.clear()
        self.writer.close(CLOSE_TIMEOUT_S)


class _Open:
    """A connection that left HTTP and has not ended: as little as its line needs."""

    __slots__ = ("_began_at", "_half", "_make", "_route", "_sent_bytes", "_status")

    def __init__(
        self,
        make: Callable[[Exchange], str],
        status: int,
        sent_bytes: int,
        began_at: float,
        half: str,
        route: str,
    ) -> None:
        self._make = make
        self._status = status
        self._sent_bytes = sent_bytes
        self._began_at = began_at
        self._half = half
        self._route = route

    def line(self, sent_since_bytes: int) -> str:
        sent_bytes = self._sent_bytes + sent_since_bytes
        duration_s = time.monotonic() - self._began_at
        status, half, route = self._status, self._half, self._route
        return self._make(Exchange(None, status, sent_bytes, duration_s, half, route, time.time()))
