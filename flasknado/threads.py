"""Threads that are meant to run for good, also where one could not be started at first."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

log = logging.getLogger("flasknado.error")


def runs_a_loop() -> bool:
    """Return whether the calling thread runs an event loop, so that it must not wait."""
    return asyncio._get_running_loop() is not None


class LastingThread:
    """A daemon thread that is started as soon as one can be, and again if it died.

    A process may be out of threads for a moment (a limit of the system or the container):
    then whoever needs this one asks again later. `ensure()` belongs to one thread.
    """

    def __init__(self, name: str, run: Callable[[], object]) -> None:
        self.name = name
        self._run = run
        self._thread: threading.Thread | None = None
        self._failed = False

    def ensure(self) -> bool:
        """Start it unless it runs; return whether it does. Says once if it cannot."""
        if self.is_alive():
            return True
        if self._thread is not None:
            log.error("the thread %s has died and is being restarted", self.name)
        thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            if not self._failed:
                self._failed = True
                log.error("the thread %s cannot be started: %s", self.name, error)
            return False
        if self._failed:
            self._failed = False
            log.warning("the thread %s has now been started", self.name)
        self._thread = thread
        return True

    def is_alive(self) -> bool:
        """Return whether it runs. May be called on any thread."""
        return self._thread is not None and self._thread.is_alive()

    def join(self, timeout_s: float) -> None:
        """Wait for its end, if it was ever started."""
        if self._thread is not None:
            self._thread.join(timeout_s)
