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
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from flasknado.live.event import Cursor, Event
from flasknado.live.formats import Format
from flasknado.live.hub.subscriber import Subscriber
from flasknado.live.log.tables import Batch

log = logging.getLogger("flasknado.live")

SLICE_CLIENTS = 250
"""How many clients are written to in one turn of the loop: about 2 ms of it."""
ROUND_BYTES = 256 * 1024
"""A round takes waiting batches until it has as much data, so that no write is much larger."""
SHARED_FRAMES = 64
"""How many combinations of format and channels a round keeps written frames for."""


class Fanout:
    """Who has joined, and how far the log has been delivered to all of them.

    `on_taken()` is called for each batch when its round begins: until then it waits here, and
    whoever reports batches must leave off at some number of them.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_taken: Callable[[], object]) -> None:
        self.cursor: Cursor | None = None
        """Up to where every client has everything; `None` until the log has been read."""
        self.delivered = 0
        """How many events have been written to clients, each client counted."""
        self._loop = loop
        self._on_taken = on_taken
        self._joined: dict[str, set[Subscriber]] = {}
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

    def leave(self, subscriber: Subscriber, channels: Iterable[str]) -> None:
        """Deliver nothing more of these channels."""
        for channel in channels:
            members = self._joined.get(channel)
            if members is not None:
                members.discard(subscriber)
                if not members:
                    del self._joined[channel]

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
            self._round = _Round(self._take(), self._joined)
        current = self._round
        cursor = current.cursor
        complete_to = cursor.offset
        first = current.first
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
                if place >= first:
                    wire_format = None
                    events, data = current.frames(subscriber, place)
                elif subscriber.format is not wire_format or subscriber.channels != channels:
                    # Most get what the one before them got.
                    events, data = current.frames(subscriber, place)
                    wire_format, channels = subscriber.format, subscriber.channels
                if events:
                    subscriber.send(data, cursor)
                    written += events
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

    def __init__(self, batches: list[Batch], joined: dict[str, set[Subscriber]]) -> None:
        last = batches[-1]
        self.cursor = Cursor(last.epoch, last.complete_to)
        self._events: dict[str, list[Event]] = {}
        for batch in batches:
            for event in batch.events:
                self._events.setdefault(event.channel, []).append(event)
        self.first = min((events[0].offset for events in self._events.values()), default=0)
        members = [joined[channel] for channel in self._events if channel in joined]
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
        key = (subscriber.format, channels)
        found = self._shared.get(key)
        if found is None:
            found = self._join(subscriber.format, channels, place)
            if len(self._shared) < SHARED_FRAMES:
                self._shared[key] = found
        return found

    def _join(
        self, wire_format: Format, channels: tuple[str, ...], place: int
    ) -> tuple[int, bytes]:
        events = [e for channel in channels for e in self._events.get(channel, ())]
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
