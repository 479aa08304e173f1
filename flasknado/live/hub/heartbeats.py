"""What happens to each client now and then: a heartbeat, and the end of access that has one.

Heartbeats are written to one part of the clients at a time, to keep the loop free. On the
loop's thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from flasknado.live.event import Cursor
from flasknado.live.formats import Format
from flasknado.live.hub.subscriber import Subscriber

HEARTBEAT_SLOTS = 16


class Heartbeats:
    """The clients that get heartbeats, each every `interval_s`.

    A heartbeat tells a client its place; `on_expired(subscriber)` has to remove a client whose
    access has ended.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        interval_s: float,
        place_of: Callable[[Subscriber], Cursor | None],
        on_expired: Callable[[Subscriber], object],
    ) -> None:
        self._loop = loop
        self._interval_s = interval_s / HEARTBEAT_SLOTS
        self._place_of = place_of
        self._on_expired = on_expired
        self._expiring: set[Subscriber] = set()
        self._slots: list[set[Subscriber]] = [set() for _ in range(HEARTBEAT_SLOTS)]
        self._slot = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin; the first is due after an interval."""
        self._timer = self._loop.call_later(self._interval_s, self._beat)

    def stop(self) -> None:
        """Write no more of them."""
        if self._timer is not None:
            self._timer.cancel()

    def enter(self, subscriber: Subscriber) -> None:
        """Have a client get them."""
        subscriber.beat_slot = self._slot
        self._slots[self._slot].add(subscriber)
        if subscriber.expires_at is not None:
            self._expiring.add(subscriber)

    def expire(self, subscriber: Subscriber, ends_at: float) -> None:
        """End a client's access then, if not before."""
        own = subscriber.expires_at
        subscriber.expires_at = ends_at if own is None else min(own, ends_at)
        self._expiring.add(subscriber)

    def leave(self, subscriber: Subscriber) -> None:
        """Forget a client."""
        self._slots[subscriber.beat_slot].discard(subscriber)
        self._expiring.discard(subscriber)

    def _beat(self) -> None:
        """Send the head to the clients of the next slot."""
        self.start()
        self._slot = (self._slot + 1) % HEARTBEAT_SLOTS
        now = time.time()
        for subscriber in [s for s in self._expiring if s.expires_at and s.expires_at <= now]:
            self._on_expired(subscriber)
        encoded: dict[tuple[Format, Cursor], bytes] = {}
        for subscriber in tuple(self._slots[self._slot]):
            place = self._place_of(subscriber)
            if place is None:
                subscriber.beat(None)
                continue
            key = (subscriber.format, place)
            if key not in encoded:
                encoded[key] = subscriber.format.heartbeat(place)
            subscriber.beat(encoded[key])
