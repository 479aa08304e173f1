"""One worker's part in presence: what the loop counts, and what a thread writes of it."""

from __future__ import annotations

import fnmatch
import json
import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import sqlalchemy as sa

from flasknado.live.log.base import Busy, Follower
from flasknado.live.log.presence import BEAT_INTERVAL_S, SUFFIX, Key, Seen
from flasknado.live.log.tables import Draft

log = logging.getLogger("flasknado.live")

MAX_REFUSED = 1000
"""How many pairs of channel and user are remembered that the database did not take."""


class PresenceTracker:
    """Counts who is on the watched channels in this process.

    patterns: which channels are watched, as in `post:*`; without any it costs nothing.
    `enter` and `leave` belong to the loop's thread, `write` and `end` to the writer's.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self.worker = secrets.token_hex(8)
        self._patterns = tuple(patterns)
        self._lock = threading.Lock()
        self._connections: Counter[Key] = Counter()
        self._changed: set[Key] = set()
        self._refused: set[Key] = set()
        self._beat_at = 0.0

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
            self._changed.add((channel, ""))

    def _change(self, channels: Iterable[str], user: str | None, by: int) -> None:
        if not self._patterns:
            return
        with self._lock:
            for channel in channels:
                if self.watches(channel):
                    key = (channel, user or "")
                    self._connections[key] += by
                    if not self._connections[key]:
                        del self._connections[key]
                    self._changed.add(key)

    def write(self, follower: Follower) -> None:
        """Write what has changed, or that the worker lives if that is due; tell who watches.

        What the database does not take, such as a user's name that it cannot hold, is left
        out and logged.
        """
        now = time.monotonic()
        if not self._patterns or not (self._changed or now >= self._beat_at):
            return
        with self._lock:
            changed, self._changed = self._changed, set()
            changes = {key: self._connections[key] for key in changed}
        try:
            seen = self._see(follower, changes)
            self._tell(follower, {channel for channel, _ in changes} | seen.lost)
        except BaseException as error:
            self._again(changed)
            if not isinstance(error, Busy):
                raise
            return
        self._beat_at = now + BEAT_INTERVAL_S
        if not seen.known:
            # A new worker, or one that was taken for gone.
            with self._lock:
                self._changed.update(self._connections.keys() - self._refused)

    def _see(self, follower: Follower, changes: dict[Key, int]) -> Seen:
        """Write changes together; if the database does not take them, one by one."""
        try:
            return follower.see(self.worker, changes)
        except (sa.exc.DBAPIError, ValueError) as error:
            if _is_lost(error) or not changes:
                raise
        seen = follower.see(self.worker, {})
        for key, connections in changes.items():
            try:
                follower.see(self.worker, {key: connections})
            except (sa.exc.DBAPIError, ValueError) as error:
                if _is_lost(error):
                    raise
                self._refuse(key, error)
        return seen

    def _refuse(self, key: Key, error: Exception) -> None:
        if key not in self._refused:
            if len(self._refused) < MAX_REFUSED:
                self._refused.add(key)
            log.error(
                "presence cannot be written for the user %.80a on %s, who is left out: %s",
                key[1],
                key[0],
                error,
            )

    def end(self, follower: Follower) -> None:
        """Take this worker's people out; what fails here heals by itself."""
        if self._patterns:
            self._tell(follower, follower.forget(self.worker))

    def _again(self, changed: Collection[Key]) -> None:
        with self._lock:
            self._changed.update(changed)

    def _tell(self, follower: Follower, channels: Iterable[str]) -> None:
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


def _is_lost(error: Exception) -> bool:
    """Return whether it is the connection that failed, and not what was to be written."""
    return isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated


def watched(channel: str, patterns: Iterable[str]) -> bool:
    """Return whether a channel matches one of the patterns; presence itself is not watched."""
    return not channel.endswith(SUFFIX) and any(
        fnmatch.fnmatchcase(channel, pattern) for pattern in patterns
    )
