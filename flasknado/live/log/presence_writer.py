"""The thread that writes one worker's part in presence, on a connection of its own.

So whatever presence meets (a lock, a row that the database refuses, a slow disk), no event
waits for it.
"""

from __future__ import annotations

import contextlib

from flasknado.live.log.base import Busy, Follower, Log
from flasknado.live.log.follower_thread import FollowerThread, Loop
from flasknado.live.log.presence_tracker import PresenceTracker
from flasknado.live.options import LiveOptions


class PresenceWriter(FollowerThread):
    """Writes what `PresenceTracker` counts."""

    what = "it cannot be written who is on the channels"
    listening = False

    def __init__(
        self,
        live_log: Log,
        options: LiveOptions,
        loop: Loop,
        counted: PresenceTracker,
    ) -> None:
        super().__init__("flasknado-live-presence", live_log, options, loop)
        self._presence_tracker = counted
        counted.wake = self.wake

    def _lost(self) -> None:
        """Presence is written again, in full, by the next follower."""

    def _follow(self, follower: Follower) -> None:
        while not self.ended:
            self._progress()
            self._presence_tracker.write(follower)
            self._busy_since = None
            self._wakeup.wait(self._presence_tracker.wait_s())
        with contextlib.suppress(Busy):
            self._presence_tracker.end(follower)
