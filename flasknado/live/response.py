"""`live.stream()`: the view decides, the loop holds.

The response carries a hand-off for our server (`flasknado.wsgi.handoff`) and is a bounded
generator under every other. No Tornado here: the loop's half is imported on the loop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from flask import Response, request

from flasknado.live.event import REVOCATIONS, Cursor, parse_cursor
from flasknado.live.formats import WHO_FIELD, cursor_of_last_event_id, last_event_id
from flasknado.live.html import SSE_FORMATS
from flasknado.live.revocation import revocation_of
from flasknado.live.state import LiveState
from flasknado.live.tickets import Access, Identity
from flasknado.wsgi.handoff import HANDOFF_KEY, SERVER_KEY, Handoff

LOOKING_INTERVAL_S = 0.5
BATCH_EVENTS = 200


def stream_response(
    state: LiveState, channels: Sequence[str], after: str | None, wire_format: str
) -> Response:
    """Return the response of `Live.stream`, which says more; in a request context."""
    if after is not None:
        cursor: Cursor | None = parse_cursor(after)
    else:
        given_back = last_event_id(
            request.headers.get("Last-Event-ID"), request.args.items(multi=True)
        )
        cursor = cursor_of_last_event_id(given_back)
    server = request.environ.get(SERVER_KEY)
    # Here, while there is a context: the loop has none.
    identity = state.hooks.who()
    address = request.remote_addr
    events = _fallback(state, channels, cursor, identity, wire_format)
    response = Response(events, mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    who = state.page_key(identity.user)
    if who is not None:
        response.headers[WHO_FIELD] = who
    if server is not None:
        access = Access(identity, _began_at(server), frozenset(channels))

        def take(stream: Any, chunked: bool) -> None:
            from flasknado.live.endpoints.sse import hold

            hold(state, server, stream, chunked, channels, cursor, access, address, wire_format)

        request.environ[HANDOFF_KEY] = Handoff(response.headers["Content-Type"], take)
    return response


def _began_at(server: Any) -> float:
    """Return when this request began to run, before anything was asked of who makes it.

    The application may run it on a thread that it starts itself: then no later than the
    request that has run for longest.
    """
    running = server.container.pool.running_longer_than(0.0)
    thread = threading.current_thread()
    own = [task.started_at for other, task in running if other is thread]
    return min(own or [task.started_at for _, task in running], default=time.monotonic())


def _fallback(
    state: LiveState,
    channels: Sequence[str],
    after: Cursor | None,
    identity: Identity,
    wire_format: str,
) -> Iterator[bytes]:
    """Yield events for a while, looking now and then; the client reconnects at the end."""
    ends_at = time.monotonic() + state.options.fallback_stream_s
    testing = state.app.testing
    writer, _ = SSE_FORMATS[wire_format]
    yield writer.opening(state.options.retry_s)
    with state.app.app_context():
        head = state.log.cursor()
    place = after or head
    channels = [*channels, REVOCATIONS]
    if after is None:
        yield writer.heartbeat(place)
    while True:
        with state.app.app_context():
            batch = state.log.read(place.offset, channels, BATCH_EVENTS)
        if not batch.resumable(place):
            place = Cursor(batch.epoch, batch.head)
            yield writer.reset(place)
            continue
        for event in batch.events:
            if event.channel != REVOCATIONS:
                yield writer.event(batch.epoch, event)
            elif event.offset > head.offset:
                revocation = revocation_of(event)
                if revocation and revocation.ends(identity) and revocation.concerns(channels):
                    return
        place = Cursor(batch.epoch, batch.complete_to)
        if batch.complete_to < batch.head:
            continue
        yield writer.heartbeat(place)
        if testing or time.monotonic() >= ends_at:
            return
        time.sleep(LOOKING_INTERVAL_S)
