"""One worker's part in presence: what the loop counts, and what a thread writes of it."""

from __future__ import annotations

import fnmatch
import json
import logging
import random
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence

from flasknado.live.log.base import Busy, Follower
from flasknado.live.log.presence import (
    BEAT_INTERVAL_S,
    SUFFIX,
    WRITE_INTERVAL_S,
    Change,
    Key,
    Presence,
    Seen,
)
from flasknado.live.log.tables import Draft
from flasknado.live.options import LiveOptions

log = logging.getLogger("flasknado.live")

HALVINGS = 64
"""In how many statements what the database refuses is looked for at a time."""
HEAL_INTERVAL_S = 10.0
"""How often each worker looks for what the roster has wrong."""
HEALED_AT_ONCE = 500
MAX_UNTOLD = 10_000
"""How many changes are kept to be told while the database does not take them."""
ROSTER_BYTES = 32 * 1024
"""The most users, as JSON, in one event of presence; more of them go into several events."""

OnChanges = Callable[[Sequence[Change]], None]
OnPresence = Callable[[str, Presence], None]


def _nothing(*args: object) -> None:
    """Tell nobody."""


class PresenceTracker:
    """Counts who is on the watched channels in this process.

    A connection that leaves is counted for `presence_grace_s` more, unless another of its user
    comes meanwhile. `enter`, `leave` and `ask` belong to the loop's thread, `write` and `end` to
    the writer's.
    """

    def __init__(self, options: LiveOptions) -> None:
        self.worker = secrets.token_hex(8)
        self._named = options.presence_users
        self._patterns = (*options.presence, *options.presence_users)
        self._grace_s = options.presence_grace_s
        self._lock = threading.Lock()
        self._connections: Counter[Key] = Counter()
        """Those that have left a moment ago among them."""
        self._info: dict[Key, str] = {}
        self._leaving: deque[tuple[float, Key]] = deque()
        """Who has left, and when that counts; the oldest first."""
        self._left: Counter[Key] = Counter()
        """How many of those have not been replaced."""
        self._replaced: Counter[Key] = Counter()
        self._changed: set[Key] = set()
        self._asked: set[str] = set()
        self._woken = False
        self._untold: list[Change] = []
        """Who joined and left, and nobody who watches has been told yet."""
        self._unwritable: set[Key] = set()
        """What the database refuses, as it did before there was a rule for a user's id."""
        self._write_at = 0.0
        self._beat_at = 0.0
        self._heal_at = time.monotonic() + HEAL_INTERVAL_S * random.uniform(0.5, 1.5)
        self.wake: Callable[[], None] = _nothing
        """Called when there is something to write."""
        self.on_changes: OnChanges = _nothing
        """Called with who joined and left, where this worker was the first to tell; on the
        writer's thread."""
        self.on_presence: OnPresence = _nothing
        """Called with who is on a channel that was asked for; on the writer's thread."""

    def wait_s(self) -> float:
        """Return how long there is nothing to write, if nothing changes."""
        with self._lock:
            waiting = self._changed or self._asked or self._untold
            due_at = self._write_at if waiting else self._beat_at
            if self._leaving:
                due_at = min(due_at, max(self._leaving[0][0], self._write_at))
        return min(max(due_at - time.monotonic(), 0.0), WRITE_INTERVAL_S)

    def watches(self, channel: str) -> bool:
        """Return whether somebody counts who is on a channel. May be called on any thread."""
        return watched(channel, self._patterns)

    def names(self, channel: str) -> bool:
        """Return whether who asks is told who is on a channel. May be called on any thread."""
        return watched(channel, self._named)

    def enter(
        self, channels: Iterable[str], user: str | None, info_json: str | None = None
    ) -> None:
        """Count a connection in on channels."""
        if not self._patterns:
            return
        with self._lock:
            for channel in channels:
                if self.watches(channel):
                    self._enter((channel, user or ""), info_json)
        self._wake()

    def _enter(self, key: Key, info_json: str | None) -> None:
        if info_json is not None and self._info.get(key) != info_json:
            self._info[key] = info_json
            self._changed.add(key)
        if self._left[key] > 0:
            self._left[key] -= 1
            self._replaced[key] += 1
        else:
            self._connections[key] += 1
            self._changed.add(key)

    def leave(self, channels: Iterable[str], user: str | None) -> None:
        """Count a connection out of channels, once the time of grace is over."""
        if not self._patterns:
            return
        ends_at = time.monotonic() + self._grace_s
        with self._lock:
            for channel in channels:
                if self.watches(channel):
                    key = (channel, user or "")
                    self._left[key] += 1
                    self._leaving.append((ends_at, key))

    def move(self, channels: Iterable[str], user: str, info_json: str | None) -> None:
        """Count a connection of nobody as a user's; nobody is not missed for a while."""
        with self._lock:
            for channel in channels:
                if self.watches(channel):
                    self._count_out((channel, ""))
                    self._enter((channel, user), info_json)
        self._wake()

    def ask(self, channel: str) -> None:
        """Have `on_presence` called with who is on a channel."""
        with self._lock:
            self._asked.add(channel)
        self._wake()

    def _wake(self) -> None:
        # Once until the writer has looked: thousands may come within its interval.
        if not self._woken and (self._changed or self._asked):
            self._woken = True
            self.wake()

    def _let_go(self, now: float) -> None:
        """Count out who has left for long enough."""
        leaving = self._leaving
        while leaving and leaving[0][0] <= now:
            _, key = leaving.popleft()
            counter = self._replaced if self._replaced[key] > 0 else self._left
            counter[key] -= 1
            if not counter[key]:
                del counter[key]
            if counter is self._left:
                self._count_out(key)

    def _count_out(self, key: Key) -> None:
        self._connections[key] -= 1
        if self._connections[key] <= 0:
            del self._connections[key]
            self._info.pop(key, None)
        self._changed.add(key)

    def write(self, follower: Follower) -> None:
        """Write what is due, and tell who watches.

        Raises only what says that the connection is lost.
        """
        now = time.monotonic()
        with self._lock:
            self._let_go(now)
            due = self._changed or self._asked or self._untold or now >= self._beat_at
            if not self._patterns or not due or now < self._write_at:
                return
            self._write_at = now + WRITE_INTERVAL_S
            self._woken = False
            changed, self._changed = self._changed, set()
            asked, self._asked = self._asked, set()
            self._unwritable &= self._connections.keys()
            changes = {key: self._connections.get(key, 0) for key in changed - self._unwritable}
            info = {key: self._info.get(key) for key in changes}
        try:
            seen, written = self._see(follower, changes)
            self._announce(follower, {key: info[key] for key in written}, changes)
            self._tell(follower, {channel for channel, _ in written} | seen.lost, self._untold)
            self._untold = []
            self._answer(follower, asked)
        except Exception as error:
            self._again(changed)
            with self._lock:
                self._asked |= asked
            if not isinstance(error, Busy):
                _raise_if_lost(error)
                self._write_at = now + BEAT_INTERVAL_S
                log.exception("presence cannot be written; retrying in %.0f s", BEAT_INTERVAL_S)
            return
        self._again(changes.keys() - written)
        self._beat_at = now + BEAT_INTERVAL_S
        if seen.lost:
            self._heal_at = 0.0
        if not seen.known:
            # A new worker, or one that was taken for gone.
            with self._lock:
                self._changed.update(self._connections)

    def _announce(
        self, follower: Follower, written: dict[Key, str | None], counts: dict[Key, int]
    ) -> None:
        """Bring the roster up to date with what was written, and with what it has wrong."""
        there = {key: text for key, text in written.items() if key[1] and counts[key]}
        gone = {key for key in written if key[1] and not counts[key]}
        now = time.monotonic()
        if now >= self._heal_at:
            self._heal_at = now + HEAL_INTERVAL_S * random.uniform(0.5, 1.5)
            strays = follower.strays(self.worker, HEALED_AT_ONCE)
            gone |= {key for key in strays.absent if key not in there}
            with self._lock:
                there |= {k: self._info.get(k) for k in strays.missing if k in self._connections}
        if not there and not gone:
            return
        changes = follower.announce(there, gone)
        if changes:
            # The roster has them now: nobody else tells them if the next statement fails.
            self._untold = [*self._untold, *changes][-MAX_UNTOLD:]
            self.on_changes(changes)

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
        """Take this worker's people out; what fails here heals by itself.

        That they left is told by another worker, or the next: most come back in a moment.
        """
        if self._patterns:
            self._tell(follower, follower.forget(self.worker), ())

    def _again(self, changed: Iterable[Key]) -> None:
        with self._lock:
            self._changed.update(changed)

    def _answer(self, follower: Follower, asked: Iterable[str]) -> None:
        for channel in sorted(asked):
            presence = _read(follower, channel)
            if presence is not None:
                self.on_presence(channel, presence)

    def _tell(self, follower: Follower, channels: Iterable[str], changes: Sequence[Change]) -> None:
        drafts: list[Draft] = []
        for channel in sorted({*channels, *(change.channel for change in changes)}):
            presence = _read(follower, channel)
            if presence is None:
                continue
            own = [c for c in changes if c.channel == channel] if self.names(channel) else []
            told = _told(presence.count, own)
            drafts += [Draft(channel + SUFFIX, "presence", data, kept=False) for data in told]
        if drafts:
            follower.append(drafts)


def snapshot(presence: Presence, *, named: bool) -> str:
    """Return the data of the event that tells a client who is there when it comes.

    The users are left out where they are too many for one event.
    """
    count = f'{{"count":{presence.count}'
    if named:
        users = [_user(user, _dumped(presence.info.get(user))) for user in sorted(presence.users)]
        if sum(map(len, users)) <= ROSTER_BYTES:
            return f'{count},"users":[{",".join(users)}]}}'
    return count + "}"


def _told(count: int, changes: Sequence[Change]) -> list[str]:
    """Return the data of the events that tell of a channel's changes."""
    parts: list[dict[str, list[str]]] = [{"join": [], "leave": []}]
    size_bytes = 0
    for change in changes:
        text = _user(change.user, change.info)
        if size_bytes and size_bytes + len(text) > ROSTER_BYTES:
            parts.append({"join": [], "leave": []})
            size_bytes = 0
        parts[-1]["leave" if change.kind == "leave" else "join"].append(text)
        size_bytes += len(text)
    return [
        f'{{"count":{count}'
        + "".join(f',"{kind}":[{",".join(users)}]' for kind, users in part.items() if users)
        + "}"
        for part in parts
    ]


def _user(user: str, info: str | None) -> str:
    return f'{{"user":{json.dumps(user)},"info":{info or "null"}}}'


def _dumped(info: object) -> str | None:
    return None if info is None else json.dumps(info, separators=(",", ":"))


def _read(follower: Follower, channel: str) -> Presence | None:
    try:
        return follower.presence(channel)
    except Exception as error:
        _raise_if_lost(error)
        log.exception("presence on %r cannot be read", channel)
        return None


def _raise_if_lost(error: Exception) -> None:
    """Raise an error again that says that the connection to the database is lost."""
    if getattr(error, "connection_invalidated", False):
        raise error


def watched(channel: str, patterns: Iterable[str]) -> bool:
    """Return whether a channel matches one of the patterns; presence itself is not watched."""
    return not channel.endswith((SUFFIX, "*")) and any(
        fnmatch.fnmatchcase(channel, pattern) for pattern in patterns
    )
