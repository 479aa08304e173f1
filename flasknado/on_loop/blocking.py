"""A thread that says which coroutine blocks the event loop, and where."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from flasknado.stacks import log_stack
from flasknado.threads import LastingThread

log = logging.getLogger("flasknado.error")

BLOCKED_S = 0.5
"""How long the loop may not turn before that is told, once."""

Describe = Callable[["asyncio.Task[Any]"], tuple[str, str | None]]
"""Returns what a task is for the log, and the id of its request."""


class BlockingWatch:
    """Asks the loop twice a second whether it turns, while `active()` says there is a reason to.

    Told is only what a coroutine does: a loop that gets no processor is not blocked.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        active: Callable[[], bool],
        describe: Describe,
    ) -> None:
        self._loop = loop
        self._active = active
        self._describe = describe
        self._blocked_s = BLOCKED_S
        self._loop_thread: int | None = None
        self._turned = True
        self._stopping = threading.Event()
        self._thread = LastingThread("flasknado-loop-watch", self._run)

    def ensure(self) -> None:
        """Start the thread unless it runs; on the loop's thread."""
        if not self._thread.is_alive() and not self._stopping.is_set():
            self._loop_thread = threading.get_ident()
            self._thread.ensure()

    def stop(self) -> None:
        """End the thread; does not wait for it."""
        self._stopping.set()

    def _turn(self) -> None:
        self._turned = True

    def _run(self) -> None:
        while not self._stopping.wait(self._blocked_s):
            if not self._active():
                continue
            self._turned = False
            asked_at = time.monotonic()
            try:
                self._loop.call_soon_threadsafe(self._turn)
            except RuntimeError:  # it has closed
                return
            if self._stopping.wait(self._blocked_s):
                return
            if not self._turned:
                self._tell(asked_at)
                while not self._turned and not self._stopping.wait(self._blocked_s):
                    pass

    def _tell(self, asked_at: float) -> None:
        task = asyncio.current_task(self._loop)
        frame = sys._current_frames().get(self._loop_thread or 0)
        if task is None or frame is None or self._turned:
            return
        what, request_id = self._describe(task)
        log_stack(
            log,
            "".join(traceback.format_stack(frame)),
            "%s has blocked the event loop for %.1f s; everybody waits; it is here:",
            what,
            time.monotonic() - asked_at,
            request_id=request_id,
        )
