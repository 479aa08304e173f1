"""`GET events`: server-sent events (HTML standard, section 9.2), for the browser's EventSource."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

from tornado.iostream import IOStream, StreamClosedError

from flasknado.live.endpoints.endless import ResponseSubscriber, StreamHandler
from flasknado.live.errors import LiveError
from flasknado.live.formats import SSE, SSE_CHUNKED, Format, GoAway
from flasknado.live.html import SSE_FORMATS
from flasknado.live.hub.hub import Hub, hub_of
from flasknado.live.state import LiveState
from flasknado.live.tickets import Access
from flasknado.live.wanted import Wanted

log = logging.getLogger("flasknado.live")


class EventsSubscriber(ResponseSubscriber):
    """An EventSource."""

    __slots__ = ()
    transport = "sse"


class EventsHandler(StreamHandler):
    """Each event has the cursor as `id`, its name as `event`, and the JSON object as `data`.

    Heartbeats are blocks of an `id` alone, so a reconnecting client sends a young
    `Last-Event-ID` even if its channel is quiet.
    """

    content_type = "text/event-stream"
    wire_format = SSE
    chunked_format = SSE_CHUNKED
    subscriber_type = EventsSubscriber

    def formats(self) -> tuple[Format, Format]:
        return SSE_FORMATS[self.format_name(SSE_FORMATS)]


class HeldSubscriber(EventsSubscriber):
    """An EventSource whose request a view has answered."""

    __slots__ = ("joining",)

    joining: asyncio.Task[None] | None
    """What counts it in, until that is done."""


def hold(
    state: LiveState,
    http_server: Any,
    stream: IOStream,
    chunked: bool,
    wanted: Wanted,
    access: Access,
    address: str | None,
) -> None:
    """Hold a connection that a view has handed over (`Live.stream`); on the loop's thread."""
    hub = hub_of(state, http_server)
    wire_format = SSE_FORMATS[wanted.wire_format][chunked]
    subscriber = HeldSubscriber(hub, wire_format, access.identity, address)
    subscriber.digest = wanted.digest
    try:
        subscriber.attach(stream)
    except StreamClosedError:
        return
    subscriber.joining = hub.loop.create_task(_join(hub, subscriber, wanted, access))


async def _join(hub: Hub, subscriber: HeldSubscriber, wanted: Wanted, access: Access) -> None:
    try:
        await hub.ready()  # else it does not know who was revoked since the view decided
        if subscriber.gone:
            return
        hub.admit(subscriber, access.asked_at, access.channels)
    except LiveError as error:
        log.info("a live stream was ended: %s", error)
        if not subscriber.gone:
            # The head has been sent, so it is by reconnecting that the client asks again.
            subscriber.gone = True
            subscriber.go_away(GoAway(hub.options.retry_s, wanted.after))
    else:
        subscriber.write(subscriber.format.opening(hub.options.retry_s))
        if not subscriber.gone:
            hub.subscribe(subscriber, map(sys.intern, wanted.channels), wanted.after, wanted.last)
    finally:
        subscriber.joining = None
