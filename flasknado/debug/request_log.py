"""One line in the terminal for each request: when, method, target, status and time."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from typing import Final, TextIO

from flasknado.http.message import Finished
from flasknado.ops.logs.access_lines import safe
from flasknado.ops.logs.scrub import Scrubber
from flasknado.ops.logs.writer import LogWriter

CLOSE_TIMEOUT_S: Final = 1.0

_RESET: Final = "\x1b[0m"
_FAINT: Final = "\x1b[2m"
_COLOURS: Final = {1: "\x1b[36m", 2: "\x1b[32m", 3: "\x1b[36m", 4: "\x1b[33m", 5: "\x1b[1;31m"}
"""By the first digit of the status."""


class RequestLog:
    """Writes to a stream, on a thread of its own; belongs to the loop's thread.

    scrubber: hides secrets in query strings. hidden: requests below this path are not logged.
    """

    def __init__(self, scrubber: Scrubber, hidden: str, stream: TextIO | None = None) -> None:
        stream = stream or sys.stderr
        self._scrubber = scrubber
        self._hidden = hidden
        self._coloured = stream.isatty() and "NO_COLOR" not in os.environ
        # Not one that others can get, and change: it has this one handler.
        logger = logging.Logger("flasknado.debug.requests")  # noqa: LOG001
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        self._writer: LogWriter[Finished] = LogWriter(logger, asyncio.get_running_loop(), self.line)

    def note(self, finished: Finished) -> None:
        """Log a request that has been answered (`Counters.hooks`)."""
        head = finished.head
        if head is not None and head.path.startswith(self._hidden):
            return
        finished.ended_at = time.time()
        self._writer.note(finished)

    def line(self, finished: Finished) -> str:
        """Return the line of a request."""
        head = finished.head
        clock = time.strftime("%H:%M:%S", time.localtime(finished.ended_at))
        method = head.method if head is not None else "-"
        target = safe(self._scrubber.target(head.target)) if head is not None else "-"
        status = str(finished.status)
        took = f"{finished.duration_s * 1000:.0f} ms"
        if self._coloured:
            clock, took = f"{_FAINT}{clock}{_RESET}", f"{_FAINT}{took}{_RESET}"
            status = f"{_COLOURS.get(finished.status // 100, '')}{status}{_RESET}"
        return f"{clock} {status} {safe(method)} {target} {took}"

    def close(self) -> None:
        """Write what waits."""
        self._writer.close(CLOSE_TIMEOUT_S)
