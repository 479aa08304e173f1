"""The live flow: what the log reports goes to every client that has joined. On the loop's thread.

Batches are delivered in rounds. A round goes through the clients of its channels in slices,
one in each turn of the loop, so that thousands of clients do not hold up everything else. What
is reported meanwhile waits for the next round, where each client gets it as one write: a hub
that is behind makes fewer writes, and does not fall further behind.

Nothing here makes an object for each client and round: thousands of them would call the
garbage collector to walk through everything that the process holds.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice

from flasknado.live.event import BY, Cursor, Event, is_by, is_pattern, matches
from flasknado.live.formats import Format
from flasknado.live.hub.grants import Undecided
from flasknado.live.hub.subscriber import Subscriber
from flasknado.live.log.tables import Batch

log = logging.getLogger("flasknado.live")

SLICE_CLIENTS = 250
"""How many clients are written to in one turn of the loop: about 2 ms of it."""
ROUND_BYTES = 256 * 1024
"""A round takes waiting batches until it has as much data, so that no write is much larger."""
SHARED_FRAMES = 64
"""How many combinations of format and channels a round keeps written frames for."""


def _undecided(subscriber: Subscriber, channels: Collection[str]) -> None:  # noqa: ARG001
    """Have a client come back, and ask then."""
    subscriber.abort()


class Fanout:
    """Who has joined, and how far the log has been delivered to all of them.

    `on_taken()` is called for each batch when its round begins: until then it waits here, and
    whoever reports batches must leave off at some number of them. `on_undecided(subscriber,
    channels)` has to take out a client of which nobody knows yet if it may read these.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_taken: Callable[[], object],
        on_undecided: Callable[[Subscriber, Collection[str]], object] = _undecided,
    ) -> None:
        self.cursor: Cursor | None = None
        """Up to where every client has everything; `None` until the log has been read."""
        self.delivered = 0
        """How many events have been written to clients, each client counted."""
        self._loop = loop
        self._on_taken = on_taken
        self._on_undecided = on_undecided
        self._joined: dict[str, set[Subscriber]] = {}
        self._patterns: set[str] = set()
        """Those of them that are patterns."""
        self._waiting: deque[Batch] = deque()
        self._round: _Round | None = None
        self._scheduled = False

    @property
    def channels(self) -> int:
        """How many channels somebody has joined."""
        return len(self._joined)

    def members(self) -> set[Subscriber]:
        """Return everybody who has joined."""
        everybody: set[Subscriber] = set()
        return everybody.union(*self._joined.values())

    def join(self, subscriber: Subscriber, offset: int) -> None:
        """Deliver what is after `offset` in the client's channels; it has the rest."""
        subscriber.place = offset
        for channel in subscriber.channels:
            self._joined.setdefault(channel, set()).add(subscriber)
            if is_pattern(channel):
                self._patterns.add(channel)

    def leave(self, subscriber: Subscriber, channels: Iterable[str]) -> None:
        """Deliver nothing more of these channels."""
        for channel in channels:
            members = self._joined.get(channel)
            if members is not None:
                members.discard(subscriber)
                if not members:
                    del self._joined[channel]
                    self._patterns.discard(channel)

    def place_of(self, subscriber: Subscriber) -> Cursor | None:
        """Return up to where a client has everything; `None` if it has not joined."""
        if subscriber.place is None or self.cursor is None:
            return None
        return Cursor(self.cursor.epoch, max(self.cursor.offset, subscriber.place))

    def deliver(self, batch: Batch) -> None:
        """Deliver a batch: now, if it is not for many, or after what is under way."""
        self._waiting.append(batch)
        if not self._scheduled:
            self._turn()

    def finish(self) -> None:
        """Deliver everything that waits, now."""
        while self._round is not None or self._waiting:
            self._advance()

    def close(self) -> None:
        """Deliver nothing more."""
        self._round = None
        while self._waiting:
            self._waiting.popleft()
            self._on_taken()

    def _turn(self) -> None:
        """Do one turn's share, and come back if more is left."""
        self._advance()
        self._scheduled = self._round is not None or bool(self._waiting)
        if self._scheduled:
            self._loop.call_soon(self._turn)

    def _advance(self) -> None:
        """Write to the next slice of the round, beginning one or ending it where that is due."""
        if self._round is None:
            if not self._waiting:
                return
            self._round = _Round(self._take(), self._joined, self._patterns)
        current = self._round
        cursor = current.cursor
        complete_to = cursor.offset
        first, excluded = current.first, current.excluded
        wire_format: Format | None = None
        channels: tuple[str, ...] = ()
        events, data = 0, b""
        written = 0
        targets = tuple(islice(current.targets, SLICE_CLIENTS))
        for subscriber in targets:
            place = subscriber.place
            # Who left, or joined after this was reported, has it or gets it otherwise.
            if place is None or place >= complete_to or subscriber.gone:
                continue
            subscriber.place = complete_to
            try:
                if subscriber.grants is not None or (excluded and subscriber.digest in excluded):
                    wire_format = None
                    events, data = current.own_frames(subscriber, place)
                elif place >= first:
                    wire_format = None
                    events, data = current.frames(subscriber, place)
                elif subscriber.format is not wire_format or subscriber.channels != channels:
                    # Most get what the one before them got.
                    events, data = current.frames(subscriber, place)
                    wire_format, channels = subscriber.format, subscriber.channels
                if data:
                    subscriber.send(data, cursor)
                written += events
            except Undecided as undecided:
                subscriber.place = place
                self._on_undecided(subscriber, undecided.channels)
            except Exception:
                # It comes back and resumes; the others have no part in it.
                log.exception("writing to a live client on %s failed", subscriber.channels)
                subscriber.place = place
                subscriber.abort()
        self.delivered += written
        if len(targets) < SLICE_CLIENTS:
            self._round = None
            self.cursor = cursor

    def _take(self) -> list[Batch]:
        """Take the batches of the next round."""
        batches: list[Batch] = []
        size_bytes = 0
        while self._waiting and size_bytes < ROUND_BYTES:
            batch = self._waiting.popleft()
            size_bytes += sum(len(event.data) for event in batch.events)
            batches.append(batch)
            self._on_taken()
        return batches


class _Round:
    """Some batches on their way to the clients that had joined when the round began."""

    def __init__(
        self, batches: list[Batch], joined: dict[str, set[Subscriber]], patterns: Collection[str]
    ) -> None:
        last = batches[-1]
        self.cursor = Cursor(last.epoch, last.complete_to)
        self._events: dict[str, list[Event]] = {}
        self.excluded: set[str | None] = set()
        """The digests of connections that some of it is not for."""
        for batch in batches:
            for event in batch.events:
                self._events.setdefault(event.channel, []).append(event)
                if BY in event.name:
                    self.excluded.add(event.name.partition(BY)[2])
        self.first = min((events[0].offset for events in self._events.values()), default=0)
        members = [joined[channel] for channel in self._events if channel in joined]
        members += [
            joined[pattern]
            for pattern in patterns
            if any(matches(channel, pattern) for channel in self._events)
        ]
        # A copy: clients come and go while the round lasts.
        self.targets: Iterator[Subscriber] = iter(
            tuple(members[0]) if len(members) == 1 else frozenset[Subscriber]().union(*members)
        )
        self._encoded: dict[tuple[Format, int], bytes] = {}
        self._shared: dict[tuple[Format, tuple[str, ...]], tuple[int, bytes]] = {}

    def frames(self, subscriber: Subscriber, place: int) -> tuple[int, bytes]:
        """Return how many events a client at `place` gets, and their bytes."""
        channels = subscriber.channels
        if len(channels) > 1:
            # Those who differ in what is quiet at present get the same.
            channels = tuple([channel for channel in channels if channel in self._events])
        if place >= self.first:
            return self._join(subscriber.format, channels, place)
        return self._shared_join(subscriber.format, channels)

    def _shared_join(self, wire_format: Format, channels: tuple[str, ...]) -> tuple[int, bytes]:
        """Return what all get who have nothing of this round yet."""
        key = (wire_format, channels)
        found = self._shared.get(key)
        if found is None:
            found = self._join(wire_format, channels, self.first - 1)
            if len(self._shared) < SHARED_FRAMES:
                self._shared[key] = found
        return found

    def own_frames(self, subscriber: Subscriber, place: int) -> tuple[int, bytes]:
        """Return the same for a client that follows patterns, or that some of it is not for.

        Raises `Undecided`.
        """
        channels = subscriber.channels
        if subscriber.grants is not None:
            channels = subscriber.grants.among(channels, self._events)
        if subscriber.digest not in self.excluded and place < self.first:
            return self._shared_join(subscriber.format, channels)
        return self._join(subscriber.format, channels, place, subscriber.digest)

    def _join(
        self,
        wire_format: Format,
        channels: tuple[str, ...],
        place: int,
        digest: str | None = None,
    ) -> tuple[int, bytes]:
        events = [e for channel in channels for e in self._events.get(channel, ())]
        if digest is not None:
            events = [event for event in events if not is_by(event, digest)]
        if len(channels) > 1:
            events.sort(key=_offset)
        data = [self._encode(wire_format, event) for event in events if event.offset > place]
        return len(data), data[0] if len(data) == 1 else b"".join(data)

    def _encode(self, wire_format: Format, event: Event) -> bytes:
        """Return an event's bytes, made once for all clients of a format."""
        key = (wire_format, event.offset)
        data = self._encoded.get(key)
        if data is None:
            data = self._encoded[key] = wire_format.event(self.cursor.epoch, event)
        return data


def _offset(event: Event) -> int:
    return event.offset
