"""Whether the log can be read at present, as far as a hub knows. On the loop's thread."""

from __future__ import annotations

import asyncio
import logging

from flasknado.live.errors import LogUnavailable
from flasknado.live.log.reader import Reader

log = logging.getLogger("flasknado.live")

READY_TIMEOUT_S = 5.0
"""How long whoever needs the log waits for it, and for how long of an outage anybody does."""
READER_STUCK_S = 5.0
"""After how long without an answer of the database the log counts as not readable."""


class LogHealth:
    """Keeps what the reader reports, and looks whether its database answers."""

    def __init__(self, reader: Reader, loop: asyncio.AbstractEventLoop) -> None:
        self._reader = reader
        self._loop = loop
        self._ready = asyncio.Event()
        self._started = False
        """Whether the reader has read the log since it last lost it."""
        self._unreadable_since = loop.time()

    @property
    def readable(self) -> bool:
        """Whether the log can be read: a reader that hangs cannot."""
        return self._ready.is_set() and self._reader.stuck_s < READER_STUCK_S

    @property
    def unreadable_s(self) -> float:
        """For how long the log has not been readable by now; 0 if it is."""
        if self.readable:
            return 0.0
        self.look()
        return self._loop.time() - self._unreadable_since

    async def wait(self) -> None:
        """Return when the log can be read.

        Raises `LogUnavailable` if that takes too long, at once if it has for a while already.
        """
        if self.readable:
            return
        self.look()
        left_s = self._unreadable_since + READY_TIMEOUT_S - self._loop.time()
        try:
            await asyncio.wait_for(self._ready.wait(), max(left_s, 0.0))
        except TimeoutError:
            raise unavailable() from None

    def started(self) -> None:
        """Note that the reader has read the log."""
        self._started = True
        self._ready.set()

    def stopped(self) -> None:
        """Note that the reader has lost the log; it goes on trying."""
        self._started = False
        self._lost()

    def look(self) -> None:
        """Note whether the reader gets answers, also if nobody has asked."""
        stuck_s = self._reader.stuck_s
        if stuck_s >= READER_STUCK_S:
            if self._ready.is_set():
                log.error("the database of the live events has not answered for %.0f s", stuck_s)
            self._lost()
        elif self._started:
            self._ready.set()

    def _lost(self) -> None:
        if self._ready.is_set():
            self._ready.clear()
            self._unreadable_since = self._loop.time() - self._reader.stuck_s


def unavailable() -> LogUnavailable:
    """Return the error for a log that cannot be read at present."""
    return LogUnavailable("the log of live events cannot be read at present: try again later")
