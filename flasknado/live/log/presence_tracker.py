"""One worker's part in presence: what the loop counts, and when the log's thread writes it."""

from __future__ import annotations

import fnmatch
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from flasknado.live.log.base import Busy, Follower
from flasknado.live.log.presence import BEAT_INTERVAL_S, SUFFIX, WRITE_INTERVAL_S, Key
from flasknado.live.log.tables import Draft


class PresenceTracker:
    """Counts who is on the watched channels in this process.

    patterns: which channels are watched, as in `post:*`; without any it costs nothing.
    `enter` and `leave` belong to the loop's thread, `write` and `end` to the log's.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self.worker = secrets.token_hex(8)
        self._patterns = tuple(patterns)
        self._lock = threading.Lock()
        self._connections: Counter[Key] = Counter()
        self._changed: set[Key] = set()
        self._write_at = 0.0
        self._beat_at = 0.0
        self.on_change: Callable[[], object] = lambda: None
        """Called when something has changed after a while without, on the loop's thread."""

    def watches(self, channel: str) -> bool:
        """Return whether somebody counts who is on a channel. May be called on any thread."""
        return watched(channel, self._patterns)

    def enter(self, channels: Iterable[str], user: str | None) -> None:
        """Count a connection in on channels."""
        self._change(channels, user, 1)

    def leave(self, channels: Iterable[str], user: str | None) -> None:
        """Count a connection out of channels."""
        self._change(channels, user, -1)

    def touch(self, channel: str) -> None:
        """Have it told anew how many are on a channel."""
        with self._lock:
            first = not self._changed
            self._changed.add((channel, ""))
        if first:
            self.on_change()

    def _change(self, channels: Iterable[str], user: str | None, by: int) -> None:
        if not self._patterns:
            return
        with self._lock:
            before = len(self._changed)
            for channel in channels:
                if self.watches(channel):
                    key = (channel, user or "")
                    self._connections[key] += by
                    if not self._connections[key]:
                        del self._connections[key]
                    self._changed.add(key)
            first = self._changed and not before
        if first:
            self.on_change()

    def due_in_s(self) -> float | None:
        """Return in how many seconds something has to be written; `None` if nothing ever has."""
        if not self._patterns:
            return None
        at = min(self._beat_at, self._write_at) if self._changed else self._beat_at
        return max(at - time.monotonic(), 0.0)

    def write(self, follower: Follower) -> bool:
        """Write what is due, and tell who watches; return whether the log has to be read."""
        now = time.monotonic()
        due = now >= self._beat_at or (self._changed and now >= self._write_at)
        if not self._patterns or not due:
            return False
        self._write_at = now + WRITE_INTERVAL_S
        with self._lock:
            changed, self._changed = self._changed, set()
            changes = {key: self._connections[key] for key in changed}
        try:
            seen = follower.see(self.worker, changes)
            told = self._tell(follower, {channel for channel, _ in changes} | seen.lost)
        except BaseException as error:
            self._again(changed)
            if not isinstance(error, Busy):
                raise
            return False
        self._beat_at = now + BEAT_INTERVAL_S
        if not seen.known:
            # A new worker, or one that was taken for gone.
            with self._lock:
                self._changed.update(self._connections)
        return told

    def end(self, follower: Follower) -> None:
        """Take this worker's people out; what fails here heals by itself."""
        if self._patterns:
            self._tell(follower, follower.forget(self.worker))

    def _again(self, changed: set[Key]) -> None:
        with self._lock:
            self._changed |= changed

    def _tell(self, follower: Follower, channels: Iterable[str]) -> bool:
        drafts = [
            Draft(
                channel + SUFFIX,
                "presence",
                json.dumps({"count": follower.presence(channel).count}, separators=(",", ":")),
                kept=False,
            )
            for channel in sorted(channels)
        ]
        if drafts:
            follower.append(drafts)
        return bool(drafts)


def watched(channel: str, patterns: Iterable[str]) -> bool:
    """Return whether a channel matches one of the patterns; presence itself is not watched."""
    return not channel.endswith(SUFFIX) and any(
        fnmatch.fnmatchcase(channel, pattern) for pattern in patterns
    )
