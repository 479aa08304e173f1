"""Responses that start a durable run; see `Live.run`. Uses no Tornado."""

from __future__ import annotations

import json
from typing import Any

from flask import Response, has_request_context, request

from flasknado.live.formats import cursor_or_reset, last_event_id
from flasknado.live.log.run_table import Run
from flasknado.live.response import check_threads, stream_response
from flasknado.live.runs.active import Source
from flasknado.live.state import LiveState
from flasknado.live.wanted import Wanted
from flasknado.on_loop import HOST_KEY
from flasknado.wsgi.handoff import SERVER_KEY


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
        return stream_response(state, Wanted((channel,), None))
    if streams:
        try:
            check_threads(state)
        except BaseException:
            close_unused(source)
            raise
    run = start_run(state, source, channel, output, keep_result=keep_result)
    if streams:
        response = stream_response(state, Wanted((channel,), cursor_or_reset(run.cursor)))
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
