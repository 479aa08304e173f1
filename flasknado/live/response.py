"""`live.stream()`: the view decides, the loop holds.

The response carries a hand-off for our server (`flasknado.wsgi.handoff`) and is a bounded
generator under every other. No Tornado here: the loop's half is imported on the loop.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from flask import Response, has_request_context, request

from flasknado.live.event import REVOCATIONS, Cursor, parse_cursor
from flasknado.live.formats import SSE, WHO_FIELD, cursor_of_last_event_id, last_event_id
from flasknado.live.log.run_table import Run
from flasknado.live.revocation import revocation_of
from flasknado.live.runs.active import Source
from flasknado.live.state import LiveState
from flasknado.live.tickets import Access, Identity
from flasknado.on_loop import HOST_KEY
from flasknado.wsgi.handoff import HANDOFF_KEY, SERVER_KEY, ConnectionHandoff

LOOKING_INTERVAL_S = 0.5
BATCH_EVENTS = 200


def stream_response(state: LiveState, channels: Sequence[str], after: str | None) -> Response:
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
    events = _fallback(state, channels, cursor, identity)
    response = Response(events, mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    who = state.page_key(identity.user)
    if who is not None:
        response.headers[WHO_FIELD] = who
    if server is not None:
        access = Access(identity, _began_at(server))

        def take(stream: Any, chunked: bool) -> None:
            from flasknado.live.endpoints.sse import hold

            hold(state, server, stream, chunked, channels, cursor, access, address)

        request.environ[HANDOFF_KEY] = ConnectionHandoff(response.headers["Content-Type"], take)
    return response


def _began_at(server: Any) -> float:
    """Return when this request began to run, before anything was asked of who makes it.

    The application may run it on a thread that it starts itself: then no later than the
    request that has run for longest.
    """
    running = server.container.pool.all_running()
    thread = threading.current_thread()
    own = [task.started_at for other, task in running if other is thread]
    return min(own or [task.started_at for _, task in running], default=time.monotonic())


def _fallback(
    state: LiveState, channels: Sequence[str], after: Cursor | None, identity: Identity
) -> Iterator[bytes]:
    """Yield events for a while, looking now and then; the client reconnects at the end."""
    ends_at = time.monotonic() + state.options.fallback_stream_s
    testing = state.app.testing
    yield SSE.opening(state.options.retry_s)
    with state.app.app_context():
        head = state.log.cursor()
    place = after or head
    channels = [*channels, REVOCATIONS]
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
            if event.channel != REVOCATIONS:
                yield SSE.event(batch.epoch, event)
            elif event.offset > head.offset:
                revocation = revocation_of(event)
                if revocation and revocation.ends(identity.user, identity.generation):
                    return
        place = Cursor(batch.epoch, batch.complete_to)
        if batch.complete_to < batch.head:
            continue
        yield SSE.heartbeat(place)
        if testing or time.monotonic() >= ends_at:
            return
        time.sleep(LOOKING_INTERVAL_S)


def run_response(
    state: LiveState,
    source: Source,
    channel: str,
    output: str,
    *,
    keep_result: bool,
) -> Response:
    """Return the response of `Live.run`, which says more; in a request context."""
    streams = _prefers_events()
    given_back = last_event_id(request.headers.get("Last-Event-ID"), request.args.items(multi=True))
    if streams and given_back is not None:
        close_unused(source)
        return stream_response(state, [channel], None)
    run = start_run(state, source, channel, output, keep_result=keep_result)
    if streams:
        response = stream_response(state, [channel], run.cursor)
        response.headers["X-Run"] = run.id
        return response
    said = {"run": run.id, "channel": channel, "cursor": run.cursor}
    response = Response(json.dumps(said) + "\n", status=202, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def start_run(
    state: LiveState, source: Source, channel: str, output: str, *, keep_result: bool
) -> Run:
    """Start a run for the running request, or without one; in an application context."""
    environ = request.environ if has_request_context() else {}
    user = state.hooks.who().user if environ else None
    return state.runs.start(
        source,
        channel,
        output,
        user,
        keep_result=keep_result,
        host=environ.get(HOST_KEY),
        server=environ.get(SERVER_KEY),
    )


def _prefers_events() -> bool:
    best = request.accept_mimetypes.best_match(["application/json", "text/event-stream"])
    return best == "text/event-stream"


def close_unused(source: Any) -> None:
    """Close a generator that was never begun, so that it is not taken for a forgotten one."""
    close = getattr(source, "close", None)
    if close is not None:
        close()
