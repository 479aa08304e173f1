"""A thread with a follower of the log: opened again, less and less often, while it fails."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

import sqlalchemy as sa

from flasknado.errors import ConfigurationError
from flasknado.live.log.base import Follower, Log
from flasknado.live.log.wakeup import Wakeup
from flasknado.live.options import LiveOptions
from flasknado.threads import LastingThread

log = logging.getLogger("flasknado.live")

FIRST_RETRY_S = 0.1
MAX_RETRY_S = 5.0


class Loop(Protocol):
    """What a follower's thread needs of the event loop that it works for."""

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> object:
        """Call `callback(*args)` on the loop's thread; raises `RuntimeError` once it is closed."""

    def is_closed(self) -> bool:
        """Return whether it runs nothing any more."""


class FollowerThread(ABC):
    """Ends with `stop()`, or when the loop is found closed. `what` it does is for the log."""

    what: str
    listening = True
    """Whether it has to know of other processes' commits."""

    def __init__(self, name: str, live_log: Log, options: LiveOptions, loop: Loop) -> None:
        self._log = live_log
        self._options = options
        self._loop = loop
        self._wakeup = Wakeup()
        self._stopping = threading.Event()
        self._busy_since: float | None = None
        self._thread = LastingThread(name, self._run)

    def start(self) -> bool:
        """Start the thread unless it runs, after forking; return whether it does.

        To be called again now and then, since a process may be out of threads for a moment.
        """
        return self._stopping.is_set() or self._thread.ensure()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread and wait for it, but not for a database that does not answer."""
        self._stopping.set()
        if self._thread.is_alive():
            self._wakeup.wake()
            self._thread.join(timeout_s)
        else:
            self._wakeup.close()

    def wake(self) -> None:
        """Have it look now rather than in a while. May be called on any thread."""
        self._wakeup.wake()

    @property
    def stuck_s(self) -> float:
        """How long it has waited for the database by now. May be read on any thread."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def ended(self) -> bool:
        """Whether it has to end."""
        return self._stopping.is_set() or self._loop.is_closed()

    @abstractmethod
    def _follow(self, follower: Follower) -> None:
        """Do the work until it `ended`; what it raises loses the follower."""

    @abstractmethod
    def _lost(self) -> None:
        """Note that the log cannot be reached; another follower will be opened."""

    def _progress(self) -> None:
        """Note that the database has answered."""
        self._busy_since = time.monotonic()

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while not self.ended:
            began_at = self._busy_since = time.monotonic()
            try:
                with self._log.following(
                    self._wakeup, self._options, listening=self.listening
                ) as follower:
                    self._follow(follower)
            except Exception as error:
                if time.monotonic() - began_at > MAX_RETRY_S:
                    retry_s = FIRST_RETRY_S
                self._complain(error, retry_s)
                self._lost()
                self._busy_since = None
                self._stopping.wait(retry_s)
                retry_s = min(retry_s * 2, MAX_RETRY_S)
        self._busy_since = None
        self._wakeup.close()

    def _complain(self, error: Exception, retry_s: float) -> None:
        expected = isinstance(error, (sa.exc.SQLAlchemyError, ConfigurationError))
        log.error(
            "%s; retrying in %.1f s: %s",
            self.what,
            retry_s,
            error,
            exc_info=None if expected else error,
        )
