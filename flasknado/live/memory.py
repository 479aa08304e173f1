"""A log in the process's memory, for tests and for applications of one process."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from flasknado.errors import ConfigurationError
from flasknado.live import store
from flasknado.live.bell import Bell, at_most
from flasknado.live.event import Cursor, Event
from flasknado.live.logs import READER_BUSY_TIMEOUT_S, Follower, Log, OnCommit
from flasknado.live.options import LiveOptions
from flasknado.live.presence import Key, Presence, Seen, presence_of
from flasknado.live.store import Batch, Draft

LOOKING_INTERVAL_S = 1.0


class _Entry(NamedTuple):
    event: Event
    kept: bool
    created_at: float


class MemoryLog(Log):
    """Ends with its process. Publishing appends at once: there is no transaction to join."""

    one_process = True

    def __init__(self, on_commit: OnCommit) -> None:
        self._on_commit = on_commit
        self._lock = threading.Lock()
        self._epoch = store.new_epoch()
        self._entries: deque[_Entry] = deque()
        self._present: dict[Key, int] = {}
        self._head = 0
        self._floor = 0

    def publish(self, draft: Draft, session: object = None) -> None:
        if session is not None:
            raise ConfigurationError(
                "a log in memory is a part of no session's transaction: publish without one"
            )
        self.append([draft])

    def cursor(self) -> Cursor:
        with self._lock:
            return Cursor(self._epoch, self._head)

    def append(self, drafts: Sequence[Draft]) -> Cursor:
        events: list[Event] = []
        with self._lock:
            for draft in drafts:
                self._head += 1
                event = Event(self._head, *draft[:3])
                self._entries.append(_Entry(event, draft.kept, time.time()))
                events.append(event)
            cursor = Cursor(self._epoch, self._head)
        self._on_commit(events)
        return cursor

    @contextlib.contextmanager
    def following(
        self,
        bell: Bell,
        options: LiveOptions,
        *,
        busy_timeout_s: float = READER_BUSY_TIMEOUT_S,  # noqa: ARG002 (nothing is ever locked)
    ) -> Iterator[Follower]:
        yield MemoryFollower(self, bell, options)

    def read(
        self,
        after: int,
        channels: Collection[str] | None,
        limit_events: int,
        limit_bytes: int = 2**31,
    ) -> Batch:
        """Return events as `flasknado.live.store.read` does."""
        with self._lock:
            events: list[Event] = []
            size_bytes = 0
            complete_to = self._head
            for event, kept, _ in self._entries:
                if event.offset <= after or not (
                    channels is None or (kept and event.channel in channels)
                ):
                    continue
                if len(events) == limit_events or size_bytes >= limit_bytes:
                    complete_to = events[-1].offset
                    break
                events.append(event)
                size_bytes += len(event.data)
            return Batch(self._epoch, self._head, self._floor + 1, events, complete_to)

    def recent(self, channel: str, age_s: float) -> list[Event]:
        """Return the events of a channel that are younger than `age_s`."""
        since = time.time() - age_s
        with self._lock:
            entries = [e for e in self._entries if e.created_at >= since]
        return [entry.event for entry in entries if entry.event.channel == channel]

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
        """Delete at most `batch_events` of the oldest events beyond the retention."""
        now = time.time()
        with self._lock:
            before = len(self._entries)
            first_kept = self._head - options.retention_events + 1
            for _ in range(min(before, batch_events)):
                event, _, created_at = self._entries[0]
                if event.offset >= first_kept and created_at >= now - options.retention_s:
                    break
                self._floor = event.offset
                self._entries.popleft()
            deleted = before - len(self._entries)
            signals_from = now - store.SIGNAL_LIFETIME_S
            if any(not e.kept and e.created_at < signals_from for e in self._entries):
                self._entries = deque(
                    e for e in self._entries if e.kept or e.created_at >= signals_from
                )
            return deleted


class MemoryFollower(Follower):
    """Reads the log of its own process."""

    def __init__(self, memory: MemoryLog, bell: Bell, options: LiveOptions) -> None:
        self._log = memory
        self._bell = bell
        self._options = options

    def wait(self, limit_s: float | None = None) -> None:
        self._bell.wait(at_most(LOOKING_INTERVAL_S, limit_s))

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

    def recent(self, channel: str, age_s: float) -> list[Event]:
        return self._log.recent(channel, age_s)

    def append(self, drafts: Sequence[Draft]) -> None:
        self._log.append(drafts)

    def see(self, worker: str, changes: Mapping[Key, int]) -> Seen:  # noqa: ARG002
        self._log.see(changes)
        return Seen(known=True, lost=set())

    def forget(self, worker: str) -> set[str]:  # noqa: ARG002
        return self._log.forget_all()

    def presence(self, channel: str) -> Presence:
        return self._log.presence(channel)

    def prune(self, batch_events: int) -> int:
        return self._log.prune(self._options, batch_events)

    def gone_back(self, followed: Cursor) -> None:
        """A log in memory never does."""
