"""The access log: one line for each finished exchange on either half.

Streams and connections that left HTTP (WebSocket, live events) are logged at their end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from flasknado.http.counters import EndHook
from flasknado.http.message import Finished
from flasknado.ops.logs.access_lines import JSONTemplate, Template
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

    def log(self, finished: Finished) -> None:
        """Log an exchange that has ended."""
        finished.ended_at = time.time()
        self.writer.note(finished)

    def log_at_end(self, finished: Finished) -> EndHook:
        """Log a connection that leaves HTTP now, when the returned function is called."""
        item = _Open(self._template.begun(finished), finished)
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

    __slots__ = ("_began_at", "_make", "_sent_bytes", "_status")

    def __init__(self, make: Callable[[Finished], str], left: Finished) -> None:
        self._make = make
        self._status = left.status
        self._sent_bytes = left.sent_bytes
        self._began_at = time.monotonic() - left.duration_s

    def line(self, sent_since_bytes: int) -> str:
        sent_bytes = self._sent_bytes + sent_since_bytes
        end = Finished(None, self._status, sent_bytes, time.monotonic() - self._began_at, "")
        end.ended_at = time.time()
        return self._make(end)
