"""One worker's part in presence: what the loop counts, and what a thread writes of it."""

from __future__ import annotations

import fnmatch
import json
import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence

from flasknado.live.log.base import Busy, Follower
from flasknado.live.log.presence import BEAT_INTERVAL_S, SUFFIX, WRITE_INTERVAL_S, Key, Seen
from flasknado.live.log.tables import Draft

log = logging.getLogger("flasknado.live")

HALVINGS = 64
"""In how many statements what the database refuses is looked for at a time."""


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
        self._unwritable: set[Key] = set()
        """What the database refuses, as it did before there was a rule for a user's id."""
        self._write_at = 0.0
        self._beat_at = 0.0

    @property
    def interval_s(self) -> float:
        """How long changes are gathered before they are written."""
        return WRITE_INTERVAL_S

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
        """Write what is due, and tell who watches.

        Raises only what says that the connection is lost.
        """
        now = time.monotonic()
        due = now >= self._write_at and (self._changed or now >= self._beat_at)
        if not self._patterns or not due:
            return
        self._write_at = now + WRITE_INTERVAL_S
        with self._lock:
            changed, self._changed = self._changed, set()
            self._unwritable &= self._connections.keys()
            changes = {key: self._connections[key] for key in changed - self._unwritable}
        try:
            seen, written = self._see(follower, changes)
            self._tell(follower, {channel for channel, _ in written} | seen.lost)
        except Exception as error:
            self._again(changed)
            if not isinstance(error, Busy):
                _raise_if_lost(error)
                self._write_at = now + BEAT_INTERVAL_S
                log.exception("presence cannot be written; retrying in %.0f s", BEAT_INTERVAL_S)
            return
        self._again(changes.keys() - written)
        self._beat_at = now + BEAT_INTERVAL_S
        if not seen.known:
            # A new worker, or one that was taken for gone.
            with self._lock:
                self._changed.update(self._connections)

    def _see(self, follower: Follower, changes: dict[Key, int]) -> tuple[Seen, set[Key]]:
        """Write changes, those that the database refuses excepted; return which were written.

        If it refuses some of several, they are found by halving, a bounded number of times.
        """
        try:
            return follower.see(self.worker, changes), set(changes)
        except Busy:
            raise
        except Exception as error:
            _raise_if_lost(error)
        # Raises in its turn unless it is one of the changes that cannot be written.
        known, lost = follower.see(self.worker, {})
        written = set[Key]()
        parts = [list(changes)]
        for _ in range(HALVINGS):
            if not parts:
                break
            part = parts.pop()
            try:
                seen = follower.see(self.worker, {key: changes[key] for key in part})
            except Busy:
                raise
            except Exception as error:
                _raise_if_lost(error)
                if len(part) == 1:
                    self._give_up(part[0], error)
                    written.update(part)
                else:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
                continue
            lost |= seen.lost
            written.update(part)
        return Seen(known, lost), written

    def _give_up(self, key: Key, error: Exception) -> None:
        """Count somebody no more, until all his connections have gone."""
        with self._lock:
            self._unwritable.add(key)
        channel, user = key
        log.error("presence of the user %.200r on %r cannot be written: %s", user, channel, error)

    def end(self, follower: Follower) -> None:
        """Take this worker's people out; what fails here heals by itself."""
        if self._patterns:
            self._tell(follower, follower.forget(self.worker))

    def _again(self, changed: Iterable[Key]) -> None:
        with self._lock:
            self._changed.update(changed)

    def _tell(self, follower: Follower, channels: Iterable[str]) -> None:
        drafts: list[Draft] = []
        for channel in sorted(channels):
            try:
                count = follower.presence(channel).count
            except Exception as error:
                _raise_if_lost(error)
                log.exception("presence on %r cannot be read", channel)
                continue
            data = json.dumps({"count": count}, separators=(",", ":"))
            drafts.append(Draft(channel + SUFFIX, "presence", data, kept=False))
        if drafts:
            follower.append(drafts)


def _raise_if_lost(error: Exception) -> None:
    """Raise an error again that says that the connection to the database is lost."""
    if getattr(error, "connection_invalidated", False):
        raise error


def watched(channel: str, patterns: Iterable[str]) -> bool:
    """Return whether a channel matches one of the patterns; presence itself is not watched."""
    return not channel.endswith(SUFFIX) and any(
        fnmatch.fnmatchcase(channel, pattern) for pattern in patterns
    )
