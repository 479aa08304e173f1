"""A log in the process's memory, for tests and for applications of one process."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from flasknado.errors import ConfigurationError
from flasknado.live.event import Cursor, Event, is_pattern, matches
from flasknado.live.log import retention, tables
from flasknado.live.log.base import READER_BUSY_TIMEOUT_S, Follower, Log, OnCommit
from flasknado.live.log.channel_retention import (
    NOTHING_SWEPT,
    YOUNG_S,
    Limits,
    Sweep,
    Swept,
    limits_of,
)
from flasknado.live.log.presence import Change, Key, Presence, Seen, Strays, presence_of
from flasknado.live.log.tables import Batch, Draft
from flasknado.live.log.wakeup import Wakeup
from flasknado.live.options import LiveOptions

LOOKING_INTERVAL_S = 1.0


class _Entry(NamedTuple):
    event: Event
    draft: Draft
    created_at: float
    """By a clock that never steps."""

    @property
    def offset(self) -> int:
        return self.event.offset


class MemoryLog(Log):
    """Ends with its process. Publishing appends at once: there is no transaction to join."""

    one_process = True

    def __init__(self, on_commit: OnCommit) -> None:
        self._on_commit = on_commit
        self._lock = threading.Lock()
        self._epoch = tables.new_epoch()
        self._kept: deque[_Entry] = deque()
        self._buffered: deque[_Entry] = deque()
        """Buffered events, and signals."""
        self._gone: dict[str, int] = {}
        """The last buffered event that was pruned, by channel."""
        self._present: dict[Key, int] = {}
        self._roster: dict[Key, str | None] = {}
        self._head = 0
        self._floor = 0

    def publish(self, draft: Draft, session: object = None) -> None:
        if session is not None:
            raise ConfigurationError(
                "an in-memory log belongs to no transaction: publish without a session"
            )
        self.append([draft])

    def publish_now(self, draft: Draft) -> None:
        self.append([draft])

    def cursor(self) -> Cursor:
        with self._lock:
            return Cursor(self._epoch, self._head)

    def ping(self) -> None:
        """It is always there."""

    def append(self, drafts: Sequence[Draft]) -> Cursor:
        events: list[Event] = []
        with self._lock:
            for draft in drafts:
                self._head += 1
                event = Event(self._head, *draft[:3])
                entries = self._kept if draft.kept and not draft.buffered else self._buffered
                entries.append(_Entry(event, draft, time.monotonic()))
                events.append(event)
            cursor = Cursor(self._epoch, self._head)
        self._on_commit(events)
        return cursor

    def publish_buffered(self, draft: Draft) -> None:
        self.append([draft])  # nothing is gained by waiting

    @contextlib.contextmanager
    def following(
        self,
        wakeup: Wakeup,
        options: LiveOptions,
        *,
        busy_timeout_s: float = READER_BUSY_TIMEOUT_S,  # noqa: ARG002 (nothing is ever locked)
        listening: bool = True,  # noqa: ARG002 (there is no other process)
    ) -> Iterator[Follower]:
        yield MemoryFollower(self, wakeup, options)

    def read(
        self,
        after: int,
        channels: Collection[str] | None,
        limit_events: int,
        limit_bytes: int = 2**31,
    ) -> Batch:
        """Return events as `flasknado.live.log.tables.read` does."""
        with self._lock:
            events: list[Event] = []
            size_bytes = 0
            complete_to = self._head
            oldest = self._floor + 1
            if channels is None:
                oldest = max(oldest, max(self._gone.values(), default=0) + 1)
            else:
                gone = (at + 1 for c, at in self._gone.items() if _is_among(c, channels))
                oldest = max(oldest, *gone, 1)
            entries = heapq.merge(self._kept, self._buffered, key=_offset)
            for event, draft, _ in entries:
                if event.offset <= after or not (
                    channels is None or (draft.kept and _is_among(event.channel, channels))
                ):
                    continue
                if len(events) == limit_events or size_bytes >= limit_bytes:
                    complete_to = events[-1].offset
                    break
                events.append(event)
                size_bytes += len(event.data)
            return Batch(self._epoch, self._head, oldest, events, complete_to)

    def newest(self, channel: str, limit_events: int) -> list[Event]:
        """Return the newest events of a channel, at most so many, oldest first."""
        with self._lock:
            entries = [e for e in (*self._kept, *self._buffered) if e.draft.kept]
        events = [entry.event for entry in entries if entry.event.channel == channel]
        return sorted(events)[-limit_events:]

    def see(self, changes: Mapping[Key, int]) -> None:
        """Note how many connections users have on channels."""
        with self._lock:
            for key, connections in changes.items():
                self._present.pop(key, None)
                if connections:
                    self._present[key] = connections

    def forget_all(self) -> set[str]:
        """Forget who is there; return the channels that somebody was on."""
        with self._lock:
            channels = {channel for channel, _ in self._present}
            self._present.clear()
            return channels

    def presence(self, channel: str) -> Presence:
        with self._lock:
            there = {user: n for (name, user), n in self._present.items() if name == channel}
            info = {user: self._roster.get((channel, user)) for user in there}
        return presence_of(there, info)

    def announce(self, changes: Mapping[Key, str | None], gone: Collection[Key]) -> list[Change]:
        """Bring the roster up to date; see `flasknado.live.log.presence.announce`."""
        told: list[Change] = []
        with self._lock:
            for key, info in changes.items():
                if key[1] and self._roster.get(key, "") != info:
                    told.append(Change(*key, info, "update" if key in self._roster else "join"))
                    self._roster[key] = info
            left = [key for key in gone if key in self._roster and key not in self._present]
            told += [Change(*key, self._roster.pop(key), "leave") for key in left]
        return told

    def strays(self, limit: int) -> Strays:
        """Return some of who is on the roster, and not there."""
        with self._lock:
            return Strays([], [key for key in self._roster if key not in self._present][:limit])

    def prune(self, options: LiveOptions, batch_events: int) -> int:
        """Delete at most `batch_events` of the oldest of each kind beyond its retention."""
        now = time.monotonic()
        with self._lock:
            kept = _expired(
                self._kept, options.retention_events, now - options.retention_s, batch_events
            )
            for _ in range(kept):
                self._floor = self._kept.popleft().offset
            buffered = _expired(
                self._buffered,
                options.buffered_retention_events,
                now - options.buffered_retention_s,
                batch_events,
            )
            for _ in range(buffered):
                event, draft, _ = self._buffered.popleft()
                if draft.kept:
                    self._gone[event.channel] = event.offset
            self._gone = {c: offset for c, offset in self._gone.items() if offset > self._floor}
            signals_from = now - retention.SIGNAL_LIFETIME_S
            if any(not e.draft.kept and e.created_at < signals_from for e in self._buffered):
                self._buffered = deque(
                    e for e in self._buffered if e.draft.kept or e.created_at >= signals_from
                )
            return kept + buffered

    def sweep(self, options: LiveOptions) -> Swept:
        """Let go what is beyond its own channel's retention."""
        limits: dict[str, Limits | None] = {}
        held: Counter[str] = Counter()
        now = time.monotonic()
        with self._lock:
            left: deque[_Entry] = deque()
            for entry in reversed(self._kept):  # the newest count first
                channel = entry.event.channel
                if channel not in limits:
                    limits[channel] = limits_of(channel, options)
                its = limits[channel]
                held[channel] += 1
                age_s = now - entry.created_at
                if (
                    its is None
                    or age_s < YOUNG_S
                    or (age_s < its.age_s and held[channel] <= its.events)
                ):
                    left.appendleft(entry)
                else:
                    self._gone[channel] = max(self._gone.get(channel, 0), entry.offset)
            deleted = len(self._kept) - len(left)
            self._kept = left
        return Swept(deleted, more=False)


def _is_among(channel: str, followed: Collection[str]) -> bool:
    """Return whether a channel is one of these, or of one of the patterns among them."""
    return channel in followed or any(is_pattern(c) and matches(channel, c) for c in followed)


def _offset(entry: _Entry) -> int:
    return entry.offset


def _expired(entries: deque[_Entry], most: int, since: float, limit: int) -> int:
    """Return how many of the oldest are too many or too old, up to a limit."""
    too_many = max(len(entries) - most, 0)
    count = 0
    for entry in itertools.islice(entries, limit):
        if count >= too_many and entry.created_at >= since:
            break
        count += 1
    return count


class MemoryFollower(Follower):
    """Reads the log of its own process."""

    def __init__(self, memory: MemoryLog, wakeup: Wakeup, options: LiveOptions) -> None:
        self._log = memory
        self._wakeup = wakeup
        self._options = options

    def wait(self) -> None:
        self._wakeup.wait(LOOKING_INTERVAL_S)

    def changed(self) -> bool:
        return True

    def bounds(self) -> Batch:
        batch = self._log.read(0, (), 1, 1)
        return batch._replace(complete_to=batch.head)

    def read(
        self,
        after: int,
        channels: Collection[str] | None,
        *,
        limit_events: int,
        limit_bytes: int,
    ) -> Batch:
        return self._log.read(after, channels, limit_events, limit_bytes)

    def newest(self, channel: str, limit_events: int) -> list[Event]:
        return self._log.newest(channel, limit_events)

    def append(self, drafts: Sequence[Draft]) -> None:
        self._log.append(drafts)

    def see(self, worker: str, changes: Mapping[Key, int]) -> Seen:  # noqa: ARG002
        self._log.see(changes)
        return Seen(known=True, lost=set())

    def forget(self, worker: str) -> set[str]:  # noqa: ARG002
        return self._log.forget_all()

    def announce(
        self, changes: Mapping[Key, str | None], gone: Collection[Key]
    ) -> Sequence[Change]:
        return self._log.announce(changes, gone)

    def strays(self, worker: str, limit: int) -> Strays:  # noqa: ARG002
        return self._log.strays(limit)

    def presence(self, channel: str) -> Presence:
        return self._log.presence(channel)

    def prune(self, batch_events: int, *, everything: bool = False) -> int:  # noqa: ARG002
        return self._log.prune(self._options, batch_events)

    def sweep(self, batch_events: int) -> Swept:  # noqa: ARG002
        if not Sweep(self._options).enabled:
            return NOTHING_SWEPT
        return self._log.sweep(self._options)

    def gone_back(self, followed: Cursor) -> None:
        """A log in memory never does."""
