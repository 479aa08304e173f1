"""`GET events`: server-sent events (HTML standard, section 9.2), for the browser's EventSource."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

from tornado.iostream import IOStream, StreamClosedError

from flasknado.live.endpoints.endless import ResponseSubscriber, StreamHandler
from flasknado.live.errors import TooManySubscribers
from flasknado.live.event import Cursor
from flasknado.live.formats import SSE, SSE_CHUNKED, GoAway
from flasknado.live.hub.hub import hub_of
from flasknado.live.state import LiveState
from flasknado.live.tickets import Identity

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


def hold(
    state: LiveState,
    http_server: Any,
    stream: IOStream,
    chunked: bool,
    channels: Sequence[str],
    after: Cursor | None,
    identity: Identity,
    address: str | None,
) -> None:
    """Hold a connection that a view has handed over (`Live.stream`); on the loop's thread."""
    hub = hub_of(state, http_server)
    wire_format = SSE_CHUNKED if chunked else SSE
    subscriber = EventsSubscriber(hub, wire_format, identity, address)
    try:
        subscriber.attach(stream)
        if not hub.draining:
            hub.admit(subscriber)
            subscriber.write(wire_format.opening(hub.options.retry_s))
    except TooManySubscribers as error:
        log.info("a live stream was sent away: %s", error)
    except StreamClosedError:
        hub.remove(subscriber)
        return
    if subscriber not in hub:
        # The head has been sent, so it is the client's reconnecting that has to wait.
        subscriber.gone = True
        subscriber.go_away(GoAway(hub.options.retry_s, after))
    elif not subscriber.gone:
        hub.subscribe(subscriber, map(sys.intern, channels), after)
