"""`GET poll`: long-poll, for clients behind proxies that break every stream."""

from __future__ import annotations

import asyncio
import math
from typing import NamedTuple

from flasknado.live.endpoints.access import refusals
from flasknado.live.endpoints.base import LiveHandler
from flasknado.live.errors import LogUnavailable
from flasknado.live.event import Cursor
from flasknado.live.formats import JSON_LIST, GoAway
from flasknado.live.hub.hub import Hub
from flasknado.live.hub.log_health import READY_TIMEOUT_S, unavailable
from flasknado.live.hub.subscriber import Subscriber
from flasknado.live.tickets import Identity
from flasknado.native.in_flask import Refused


class PollAnswer(NamedTuple):
    """The events, as comma-ended JSON elements, and the cursor to ask from next."""

    elements: bytes
    cursor: Cursor | None


class PollSubscriber(Subscriber):
    """A subscriber for one batch: the first events that are there or come, or none in time."""

    __slots__ = ("_after", "_expired", "_hub", "answer")

    transport = "poll"

    def __init__(
        self, hub: Hub, after: Cursor | None, identity: Identity, address: str | None
    ) -> None:
        super().__init__(JSON_LIST, identity, address)
        self._hub = hub
        self._after = after
        self._expired = False
        self.answer: asyncio.Future[PollAnswer] = hub.loop.create_future()

    def send(self, data: bytes, cursor: Cursor) -> None:
        if (data or self._expired) and not self.answer.done():
            self.answer.set_result(PollAnswer(data, cursor))
            self._hub.remove(self)

    def expire(self) -> None:
        """Answer without events; if the log has not been read for it yet, once it has."""
        self._expired = True
        place = self._hub.place_of(self)
        if place is not None:
            self.send(b"", place)

    def beat(self, data: bytes | None) -> None:
        """A long-poll needs no heartbeat: its answer has the cursor."""

    def go_away(self, notice: GoAway) -> None:  # noqa: ARG002
        self.abort()

    def kick(self) -> None:
        self.abort()

    def give_up(self, reason: str) -> None:
        # Not answered as if nothing had come: it would ask again at once.
        if not self.answer.done():
            self.answer.set_exception(LogUnavailable(f"try again shortly: {reason}"))

    def abort(self) -> None:
        if not self.answer.done():
            place = self._hub.place_of(self) or self._after
            self.answer.set_result(PollAnswer(b"", place or self._hub.cursor))


class PollHandler(LiveHandler):
    """`GET ?channel=A&after=CURSOR&timeout_s=25`, answered `{"events": [...], "cursor": "..."}`.

    At once if events wait after the cursor, otherwise when the first comes, or empty after
    the timeout. Without `after` it waits for what comes from now on, or answers with the `last`
    events of each channel.
    """

    subscriber: PollSubscriber | None = None

    async def get(self) -> None:
        channels = self.channels()
        after, last = self.after(), self.last()
        timeout_s = self._timeout_s()
        access = await self.authorize(channels)
        if self.client_gone:
            return
        hub = self.hub()
        address = access.address or self.address()
        subscriber = PollSubscriber(hub, after, access.identity, address)
        self.introduce(subscriber, channels)
        self.subscriber = subscriber
        with refusals():
            hub.admit(subscriber, access.asked_at, access.channels)
            answer = await self._wait(hub, subscriber, channels, after, last, timeout_s)
        self.set_header("Content-Type", "application/json")
        for name, value in self.who_headers().items():
            self.set_header(name, value)
        self.write(b'{"events":[%b],"cursor":' % answer.elements.removesuffix(b","))
        self.write(b"null}" if answer.cursor is None else b'"%b"}' % str(answer.cursor).encode())

    async def head(self) -> None:
        """Answer as GET would, without events and at once."""
        channels = self.channels()
        self.last()
        self._timeout_s()
        await self.authorize(channels)
        self.set_header("Content-Type", "application/json")

    async def _wait(
        self,
        hub: Hub,
        subscriber: PollSubscriber,
        channels: list[str],
        after: Cursor | None,
        last: int,
        timeout_s: float,
    ) -> PollAnswer:
        timer = hub.loop.call_later(timeout_s, subscriber.expire)
        try:
            hub.subscribe(subscriber, channels, after, last)
            return await asyncio.wait_for(subscriber.answer, timeout_s + READY_TIMEOUT_S)
        except TimeoutError:
            raise unavailable() from None
        finally:
            timer.cancel()
            hub.remove(subscriber)

    def _timeout_s(self) -> float:
        options = self.state.options
        text = self.get_query_argument("timeout_s", None)
        if text is None:
            return options.poll_timeout_s
        try:
            timeout_s = float(text)
        except ValueError:
            timeout_s = math.nan
        if not 0 <= timeout_s <= options.max_poll_timeout_s:
            raise Refused(
                400,
                f"timeout_s must be a number of seconds from 0 to "
                f"{options.max_poll_timeout_s:g}, not {text[:80]!a}",
            )
        return timeout_s

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self.subscriber is not None:
            self.subscriber.abort()
