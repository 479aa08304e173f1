"""The calls of `@live.on_join` and `@live.on_leave`, on a thread of their own.

Of all workers, the one that told a change first calls its functions, so each change is handled
once; a worker that is killed in between handles it not at all.
"""

from __future__ import annotations

import json
import logging
import queue
import time
from collections.abc import Sequence

from flasknado.live.log.presence import Change
from flasknado.live.state import LiveState
from flasknado.threads import LastingThread

log = logging.getLogger("flasknado.live")

MAX_WAITING = 10_000
"""How many changes may wait for the functions; further ones are dropped, and logged."""
STOP_TIMEOUT_S = 2.0


class PresenceCalls:
    """Calls the application's functions, one change after another."""

    def __init__(self, state: LiveState) -> None:
        self._app = state.app
        self._hooks = state.hooks
        self._waiting: queue.Queue[Change | None] = queue.Queue(MAX_WAITING)
        self._thread = LastingThread("flasknado-live-presence-hooks", self._run)
        self._dropped = 0
        self._stopping = False

    def put(self, changes: Sequence[Change]) -> None:
        """Have the functions called for who joined and left; on the presence writer's thread."""
        for change in changes:
            if not self._hooks.hears_of(change.channel, change.kind):
                continue
            try:
                self._waiting.put_nowait(change)
            except queue.Full:
                self._dropped += 1
                if self._dropped == 1:
                    log.error(
                        "%d changes of presence wait for the functions registered with "
                        "@live.on_join and @live.on_leave: further ones are dropped",
                        MAX_WAITING,
                    )
            self._thread.ensure()

    def stop(self) -> None:
        """Wait a moment for what is under way, and leave the rest."""
        self._stopping = True
        if self._thread.is_alive():
            ends_at = time.monotonic() + STOP_TIMEOUT_S
            try:
                self._waiting.put(None, timeout=STOP_TIMEOUT_S)
            except queue.Full:
                log.error("the server stops; %d changes of presence are left", MAX_WAITING)
            self._thread.join(max(ends_at - time.monotonic(), 0.0))

    def _run(self) -> None:
        while True:
            change = self._waiting.get()
            if change is None:
                return
            if self._dropped and self._waiting.empty():
                log.error("%d changes of presence were dropped", self._dropped)
                self._dropped = 0
            try:
                with self._app.app_context():
                    info = None if change.info is None else json.loads(change.info)
                    self._hooks.presence_changed(change.channel, change.kind, change.user, info)
            except Exception:
                log.exception("a function for changes of presence failed on %r", change.channel)
