"""A log in the process's memory, for tests and for applications of one process."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from flasknado.errors import ConfigurationError
from flasknado.live.event import Cursor, Event
from flasknado.live.log import retention, tables
from flasknado.live.log.base import READER_BUSY_TIMEOUT_S, Follower, Log, OnCommit
from flasknado.live.log.presence import Key, Presence, Seen, presence_of
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
        self._head = 0
        self._floor = 0

    def publish(self, draft: Draft, session: object = None) -> None:
        if session is not None:
            raise ConfigurationError(
                "an in-memory log belongs to no transaction: publish without a session"
            )
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
                oldest = max(oldest, *(self._gone.get(channel, 0) + 1 for channel in channels), 1)
            entries = heapq.merge(self._kept, self._buffered, key=_offset)
            for event, draft, _ in entries:
                if event.offset <= after or not (
                    channels is None or (draft.kept and event.channel in channels)
                ):
                    continue
                if len(events) == limit_events or size_bytes >= limit_bytes:
                    complete_to = events[-1].offset
                    break
                events.append(event)
                size_bytes += len(event.data)
            return Batch(self._epoch, self._head, oldest, events, complete_to)

    def newest(self, channel: str, limit_events: int) -> list[Event]:
        """Return the newest kept events of a channel, at most so many, oldest first."""
        with self._lock:
            events = [entry.event for entry in self._kept if entry.event.channel == channel]
        return events[-limit_events:]

    def newest_buffered(self, channel: str) -> Event | None:
        with self._lock:
            entries = reversed(self._buffered)
            return next((entry.event for entry in entries if entry.event.channel == channel), None)

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
            there = [(user, n) for (name, user), n in self._present.items() if name == channel]
        return presence_of(dict(there))

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

    def presence(self, channel: str) -> Presence:
        return self._log.presence(channel)

    def prune(self, batch_events: int, *, everything: bool = False) -> int:  # noqa: ARG002
        return self._log.prune(self._options, batch_events)

    def gone_back(self, followed: Cursor) -> None:
        """A log in memory never does."""
