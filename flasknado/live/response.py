"""`live.stream()`: the view decides, the loop holds.

The response carries a hand-off for our server (`flasknado.wsgi.handoff`) and is a bounded
generator under every other. No Tornado here: the loop's half is imported on the loop.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from flask import Response, request

from flasknado.live.event import Cursor, parse_cursor
from flasknado.live.formats import SSE, cursor_of_last_event_id
from flasknado.live.state import LiveState
from flasknado.wsgi.handoff import HANDOFF_KEY, SERVER_KEY, Handoff

LOOKING_INTERVAL_S = 0.5
BATCH_EVENTS = 200


def stream_response(state: LiveState, channels: Sequence[str], after: str | None) -> Response:
    """Return the response of `Live.stream`, which says more; in a request context."""
    if after is not None:
        cursor: Cursor | None = parse_cursor(after)
    else:
        cursor = cursor_of_last_event_id(request.headers.get("Last-Event-ID"))
    server = request.environ.get(SERVER_KEY)
    # Here, while there is a context: the loop has none.
    identity = state.live.who()
    address = request.remote_addr
    response = Response(_fallback(state, channels, cursor), mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    if server is not None:

        def take(stream: Any, chunked: bool) -> None:
            from flasknado.live.endpoints.sse import hold

            hold(state, server, stream, chunked, channels, cursor, identity, address)

        request.environ[HANDOFF_KEY] = Handoff(response.headers["Content-Type"], take)
    return response


def _fallback(state: LiveState, channels: Sequence[str], after: Cursor | None) -> Iterator[bytes]:
    """Yield events for a while, looking now and then; the client reconnects at the end."""
    ends_at = time.monotonic() + state.options.fallback_stream_s
    testing = state.app.testing
    yield SSE.opening(state.options.retry_s)
    with state.app.app_context():
        place = after or state.log.cursor()
    if after is None:
        yield SSE.heartbeat(place)
    while True:
        with state.app.app_context():
            batch = state.log.read(place.offset, channels, BATCH_EVENTS)
        if not batch.resumable(place):
            place = Cursor(batch.epoch, batch.head)
            yield SSE.reset(place)
            continue
        for event in batch.events:
            yield SSE.event(batch.epoch, event)
        place = Cursor(batch.epoch, batch.complete_to)
        if batch.complete_to < batch.head:
            continue
        yield SSE.heartbeat(place)
        if testing or time.monotonic() >= ends_at:
            return
        time.sleep(LOOKING_INTERVAL_S)
