"""`live.stream()`: the view decides, the loop holds; and streams and polls of other servers.

The response carries a hand-off for our server (`flasknado.wsgi.handoff`) and is a bounded
generator under every other. No Tornado here: the loop's half is imported on the loop.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from typing import Any

from flask import Response, request

from flasknado.live.event import REVOCATIONS, Cursor, Event
from flasknado.live.formats import (
    JSON_LIST,
    NDJSON,
    WHO_FIELD,
    Format,
    cursor_of_last_event_id,
    last_event_id,
)
from flasknado.live.html import SSE_FORMATS
from flasknado.live.revocation import revocation_of
from flasknado.live.state import LiveState
from flasknado.live.tickets import Access
from flasknado.live.wanted import Wanted
from flasknado.wsgi.handoff import HANDOFF_KEY, SERVER_KEY, ConnectionHandoff

LOOKING_INTERVAL_S = 0.5
BATCH_EVENTS = 200


def stream_response(state: LiveState, wanted: Wanted) -> Response:
    """Return the response of `Live.stream`, which says more; in a request context."""
    wanted = _resumed(state, wanted)
    server = request.environ.get(SERVER_KEY)
    address = request.remote_addr
    writer, _ = SSE_FORMATS[wanted.wire_format]
    body = _counted(state, _stream(state, wanted, writer))
    response = Response(body, mimetype="text/event-stream")
    response.headers["X-Accel-Buffering"] = "no"
    _say_who(state, wanted, response)
    if server is not None:
        access = Access(wanted.identity, _began_at(server), frozenset(wanted.channels))

        def take(stream: Any, chunked: bool) -> None:
            from flasknado.live.endpoints.sse import hold

            hold(state, server, stream, chunked, wanted, access, address)

        request.environ[HANDOFF_KEY] = ConnectionHandoff(response.headers["Content-Type"], take)
    return response


def lines_response(state: LiveState, wanted: Wanted) -> Response:
    """Return the same as lines of JSON, which holds the thread; in a request context."""
    wanted = _resumed(state, wanted)
    body = _counted(state, _stream(state, wanted, NDJSON))
    response = Response(body, mimetype="application/x-ndjson")
    _say_who(state, wanted, response)
    return response


def poll_response(state: LiveState, wanted: Wanted, timeout_s: float) -> Response:
    """Return the answer of a long-poll, which holds the thread; in a request context.

    It waits outside the context, so that no transaction of the request waits with it.
    """
    wanted = _resumed(state, wanted)
    body = _poll(state, wanted, timeout_s)
    if timeout_s:
        body = _counted(state, body)
    response = Response(body, mimetype="application/json")
    _say_who(state, wanted, response)
    return response


def check_threads(state: LiveState) -> None:
    """Raise `ServiceUnavailable` if no further request may hold a thread; in a request context."""
    if SERVER_KEY not in request.environ:  # ours has limits of its own
        state.held_threads.check()


def _counted(state: LiveState, body: Iterator[bytes]) -> Iterator[bytes]:
    check_threads(state)
    return body if SERVER_KEY in request.environ else state.held_threads.counted(body)


def _resumed(state: LiveState, wanted: Wanted) -> Wanted:
    """Return what is wanted by whom, from where the browser has come to."""
    # What the browser gives back goes first: `after` is where its page began.
    given_back = last_event_id(request.headers.get("Last-Event-ID"), request.args.items(multi=True))
    after = cursor_of_last_event_id(given_back) or wanted.after
    # Here, while there is a context: the loop has none.
    return dataclasses.replace(wanted, after=after, identity=state.hooks.who())


def _say_who(state: LiveState, wanted: Wanted, response: Response) -> None:
    response.headers["Cache-Control"] = "no-store"
    who = state.page_key(wanted.identity.user)
    if who is not None:
        response.headers[WHO_FIELD] = who


def _began_at(server: Any) -> float:
    """Return when this request began to run, before anything was asked of who makes it.

    The application may run it on a thread that it starts itself: then no later than the
    request that has run for longest.
    """
    running = server.container.pool.all_running()
    thread = threading.current_thread()
    own = [task.started_at for other, task in running if other is thread]
    return min(own or [task.started_at for _, task in running], default=time.monotonic())


class _Look:
    """Reads the log for one request, now and then, until it has to end."""

    def __init__(self, state: LiveState, wanted: Wanted, writer: Format) -> None:
        self._state = state
        self._wanted = wanted
        self._writer = writer
        self._channels = [*wanted.channels, REVOCATIONS]
        with state.app.app_context():
            self._head = state.log.cursor()
        self.place = wanted.after or self._head
        self.ended = False
        """Whether its access was taken away."""
        self.complete = False
        """Whether that was all that there is at present."""

    def begin(self) -> bytes:
        """Return the newest events of the channels that were asked for."""
        wanted, head = self._wanted, self._head
        if wanted.after is not None or not wanted.last:
            return b""
        with self._state.app.app_context():
            asked = dict.fromkeys(wanted.channels, wanted.last)
            events = self._state.log.history(asked, head.offset)
        return b"".join(self._writer.event(head.epoch, e) for e in events if wanted.gets(e))

    def read(self) -> bytes:
        """Return what is new, as far as one read goes."""
        with self._state.app.app_context():
            batch = self._state.log.read(self.place.offset, self._channels, BATCH_EVENTS)
        if not batch.resumable(self.place):
            self.place = Cursor(batch.epoch, batch.head)
            self.complete = False
            return self._writer.reset(self.place)
        written: list[bytes] = []
        for event in batch.events:
            if self._wanted.gets(event):
                written.append(self._writer.event(batch.epoch, event))
            elif event.channel == REVOCATIONS and event.offset > self._head.offset:
                self.ended = self._is_ended_by(event)
                if self.ended:
                    return b"".join(written)
        self.place = Cursor(batch.epoch, batch.complete_to)
        self.complete = batch.complete_to >= batch.head
        return b"".join(written)

    def _is_ended_by(self, event: Event) -> bool:
        revocation = revocation_of(event)
        return (
            revocation is not None
            and revocation.ends(self._wanted.identity)
            and revocation.concerns(self._wanted.channels)
        )


def _stream(state: LiveState, wanted: Wanted, writer: Format) -> Iterator[bytes]:
    """Yield events for a while, looking now and then; the client reconnects at the end."""
    ends_at = time.monotonic() + state.options.fallback_stream_s
    testing = state.app.testing
    opening = writer.opening(state.options.retry_s)
    if opening:
        yield opening
    look = _Look(state, wanted, writer)
    newest = look.begin()
    if newest:
        yield newest
    if wanted.after is None:
        yield writer.heartbeat(look.place)
    while True:
        events = look.read()
        if events:
            yield events
        if look.ended:
            return
        if not look.complete:
            continue
        yield writer.heartbeat(look.place)
        if testing or time.monotonic() >= ends_at:
            return
        time.sleep(LOOKING_INTERVAL_S)


def _poll(state: LiveState, wanted: Wanted, timeout_s: float) -> Iterator[bytes]:
    """Yield the answer once there is something to tell, or in time."""
    ends_at = time.monotonic() + timeout_s
    look = _Look(state, wanted, JSON_LIST)
    elements = look.begin()
    while True:
        elements += look.read()
        left_s = ends_at - time.monotonic()
        if elements or look.ended or (look.complete and left_s <= 0):
            break
        if look.complete:
            time.sleep(min(LOOKING_INTERVAL_S, left_s))
    yield b'{"events":[%b],"cursor":"%b"}' % (
        elements.removesuffix(b","),
        str(look.place).encode(),
    )
