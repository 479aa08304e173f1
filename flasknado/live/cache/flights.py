"""Responses under way: who waits for them, and whether they are still up to date.

A flight is known before its view begins. An event of its channels that arrives from then on may
have been committed after the view read the database, so the response is not kept, and later
requests get another. An event always arrives after its commit, so a page that is kept shows what
had been committed up to the last event that this process knows of.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Final

from flasknado.http.message import ResponseHead
from flasknado.http.reply import BeginOnLoop, LeftConnection, Reply, ReplyWrapper, TakeConnection
from flasknado.live.cache.questions import Question, Selection
from flasknado.live.cache.rules import CachedView, Flight
from flasknado.live.cache.store import concerns

SEEN_CHANNELS: Final = 1000
"""How many channels with events a flight remembers until its own are known."""


class Waiter:
    """A request that waits for the response to another."""

    __slots__ = ("question", "reply")

    def __init__(self, question: Question, reply: Reply) -> None:
        self.question = question
        self.reply = reply


class PageFlight(Flight):
    """One view call whose response may be kept. All fields under the lock of its `Front`."""

    __slots__ = ("_lock", "_seen", "channels", "question", "selection", "stale", "view", "waiters")

    def __init__(
        self, lock: threading.Lock, view: CachedView, question: Question, selection: Selection
    ) -> None:
        self._lock = lock
        self.view = view
        self.question = question
        self.selection = selection
        self.channels: frozenset[str] | None = None
        """Whose events change it; `None` until its view has been called."""
        self._seen: set[str] = set()
        self.stale = False
        """True once what it shows may have changed since it began."""
        self.waiters: list[Waiter] | None = []
        """`None` once nobody may wait for it any more."""

    @property
    def joinable(self) -> bool:
        """Whether who asks now may have its response."""
        return not self.stale and not self._seen and self.waiters is not None

    def name(self, channels: frozenset[str]) -> None:
        with self._lock:
            self.channels = channels
            self.stale = self.stale or concerns(channels, self._seen)
            self._seen = set()

    def note(self, events: Collection[str]) -> None:
        """Take note of channels that have had events."""
        if self.channels is not None:
            self.stale = self.stale or concerns(self.channels, events)
        elif len(self._seen) + len(events) > SEEN_CHANNELS:
            self.stale = True
        else:
            self._seen.update(events)


OnSend = Callable[[PageFlight, Reply, ResponseHead, bytes], None]
OnOther = Callable[[PageFlight], None]
OnGone = Callable[[PageFlight], bool]


class FlightReply(ReplyWrapper):
    """The reply to the request that a flight is for: a whole response is shown to the cache.

    `on_send` sends one, `on_other` hears of any other answer, and `on_gone` says whether nobody
    waits for the response once the client has left.
    """

    __slots__ = ("_flight", "_on_gone", "_on_other", "_on_send")

    def __init__(
        self,
        reply: Reply,
        flight: PageFlight,
        on_send: OnSend,
        on_other: OnOther,
        on_gone: OnGone,
    ) -> None:
        super().__init__(reply)
        self._flight = flight
        self._on_send = on_send
        self._on_other = on_other
        self._on_gone = on_gone

    @property
    def gone(self) -> bool:
        """True once the client has disconnected, if nobody else waits. May be read anywhere."""
        return self._reply.gone and self._on_gone(self._flight)

    def send(self, head: ResponseHead, body: bytes) -> None:
        """Send a whole response, to all who wait for it."""
        self._on_send(self._flight, self._reply, head, body)

    def start(self, head: ResponseHead) -> None:
        """Begin a stream, which is not kept."""
        self._on_other(self._flight)
        self._reply.start(head)

    def hand_over(self, head: ResponseHead, take: TakeConnection) -> None:
        """Leave the connection to another."""
        self._on_other(self._flight)
        self._reply.hand_over(head, take)

    def leave_to_loop(self, begin: BeginOnLoop) -> bool:
        """Leave the response to the loop."""
        self._on_other(self._flight)
        return self._reply.leave_to_loop(begin)

    def take_socket(self) -> LeftConnection:
        """Take the connection out of HTTP."""
        self._on_other(self._flight)
        return self._reply.take_socket()

    def abort(self) -> None:
        """Close the connection."""
        self._on_other(self._flight)
        self._reply.abort()
