"""The live endpoints as Flask views, for servers that have no event loop of ours.

Each request holds a thread while it waits, so streams are short, and clients come back. For
development (`flask run`) and as a fall-back: under Flasknado with its own routes these views are
not reached. No Tornado here.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, abort, make_response, request
from werkzeug.exceptions import HTTPException

from flasknado.live import said
from flasknado.live.errors import InvalidEvent
from flasknado.live.event import REVOCATIONS, check_channel, check_last, connection_digest
from flasknado.live.flask_cors import FlaskCors, flask_cors_of
from flasknado.live.formats import (
    ALLOWED_HEADERS,
    CONNECTION_FIELD,
    EXPOSED_HEADERS,
    cursor_or_reset,
)
from flasknado.live.html import SSE_FORMATS, check_format
from flasknado.live.javascript import answer_to
from flasknado.live.origins import CORS_KEY, OriginPolicy, host_of, policy_in
from flasknado.live.response import lines_response, poll_response, stream_response
from flasknado.live.revocation import revocation_of
from flasknado.live.state import LiveState, current_state
from flasknado.live.wanted import Wanted

MAX_REVOCATIONS = 1000
"""How many revocations are looked through for one tag; behind more of them it is too old."""

View = Callable[[LiveState], Any]


def blueprint(prefix: str) -> Blueprint:
    """Return a blueprint with the endpoints that a WSGI server can serve."""
    views = Blueprint("flasknado_live", __name__, url_prefix=prefix)

    def add(path: str, view: View, method: str = "GET") -> None:
        endpoint = path.removesuffix(".js")
        views.add_url_rule(f"/{path}", endpoint, _checked(view), methods=[method])

    add("events", _events)
    add("ndjson", _ndjson)
    add("poll", _poll)
    add("socket", _socket)
    add("who", _who)
    add("live.js", _module)
    add("send", _send, "POST")
    add("stop", _stop, "POST")
    add("publish", _publish, "POST")
    views.after_request(_allow_origin)
    return views


def _checked(view: View) -> Callable[[], Any]:
    """Return a view whose errors are JSON, in the shape of the native endpoints."""

    @functools.wraps(view)
    def run() -> Any:
        state = current_state()
        state.check_processes(bool(request.environ.get("wsgi.multiprocess")))
        try:
            return view(state)
        except InvalidEvent as error:
            return _refusal(400, str(error))
        except HTTPException as error:
            if error.response is not None:
                return _refusal(error.response.status_code, None)
            response = _refusal(error.code or 500, error.description)
            response.headers.extend(_retry_after(error))
            return response

    return run


def _refusal(status: int, message: str | None) -> Response:
    # A redirect to a log-in page means nothing to a client of events.
    status = status if status >= 400 else 403
    body = {"message": message or "refused", "success": False, "code": status}
    return make_response(body, status)


def _retry_after(error: HTTPException) -> list[tuple[str, str]]:
    return [field for field in error.get_headers() if field[0] == "Retry-After"]


def _events(state: LiveState) -> Response:
    return stream_response(state, _wanted(state))


def _ndjson(state: LiveState) -> Response:
    return lines_response(state, _wanted(state))


def _poll(state: LiveState) -> Response:
    return poll_response(state, _wanted(state), _timeout_s(state))


def _wanted(state: LiveState) -> Wanted:
    """Return what is asked for, once the application has allowed it."""
    args = request.args
    after = args.get("after")
    last = check_last(args.get("last", "0"), state.options.max_last)
    wire_format = check_format(args.get("format", "json"), SSE_FORMATS)
    connection = args.get("connection") or request.headers.get(CONNECTION_FIELD)
    return Wanted(
        tuple(_channels(state)),
        None if after is None else cursor_or_reset(after),
        last,
        wire_format,
        None if connection is None else connection_digest(connection),
    )


def _socket(state: LiveState) -> Response:  # noqa: ARG001
    return _refusal(426, "this server has no WebSocket: use events, or poll")


def _who(state: LiveState) -> dict[str, str | None]:
    return {"who": state.page_key(state.hooks.who().user)}


def _module(state: LiveState) -> Response:
    accepted = request.headers.get("Accept-Encoding", "")
    response = make_response(answer_to(accepted, state.options.heartbeat_s))
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.add_etag()
    response.make_conditional(request)
    return response


def _send(state: LiveState) -> Response:
    _check_origin(state, "send")
    _check_json()
    message = said.message_in(_body(state.options.max_message_bytes))
    return Response(said.answer_to(state, message), mimetype="application/json")


def _stop(state: LiveState) -> dict[str, object]:
    if not _check_origin(state, "stop runs"):
        _check_json()  # which a page of another origin has to ask for first, with its cookies
    run = said.run_in(_body(said.MAX_STOP_BYTES))
    return {"run": run, "stopped": said.stop_run(state, run)}


def _check_origin(state: LiveState, what: str) -> bool:
    """Return whether no page of another origin asks; aborts with 403 if the policy forbids it."""
    origin = request.headers.get("Origin")
    if origin is None or _is_own(origin):
        return True
    if not _policy(state).allows(origin):
        abort(403, f"pages of {origin[:80]!a} may not {what}")
    return False


def _check_json() -> None:
    if request.mimetype != "application/json":
        abort(415, said.JSON_ONLY)


def _policy(state: LiveState) -> OriginPolicy | FlaskCors:
    """Return the application's policy for pages of other origins: its own, else Flask-CORS's."""
    own = policy_in(state.app.extensions)
    if CORS_KEY in state.app.extensions:
        return own
    return flask_cors_of(state.app, request.path) or own


def _publish(state: LiveState) -> dict[str, str]:
    if state.publish_token is None:
        abort(403, said.PUBLISHING_IS_OFF)
    if not said.has_token(request.headers.get("Authorization"), state.publish_token):
        abort(401, said.SEND_THE_TOKEN)
    drafts = said.drafts_in(_body(said.MAX_PUBLISH_BYTES), state)
    return {"cursor": str(state.log.append(drafts))}


def _body(limit_bytes: int) -> bytes:
    """Return the body of the request; aborts with 413 if there is more of it."""
    # `request.max_content_length` can be set from Flask 3.1 on only.
    left_bytes = limit_bytes + 1
    if (request.content_length or 0) >= left_bytes:
        abort(413)
    pieces = []
    while left_bytes and (piece := request.stream.read(left_bytes)):
        pieces.append(piece)
        left_bytes -= len(piece)
    if not left_bytes:
        abort(413)
    return b"".join(pieces)


def _channels(state: LiveState) -> list[str]:
    """Return the channels that are asked for, once the application has allowed them."""
    named, texts = (dict.fromkeys(request.args.getlist(name)) for name in ("channel", "tag"))
    limit = state.options.max_channels
    too_many = f"a connection may follow at most {limit} channels (LIVE_MAX_CHANNELS)"
    if len(texts) > limit:  # each has the log read
        abort(400, too_many)
    tags = [(tag, _tagged(state, tag)) for tag in texts]
    channels = list(dict.fromkeys([*named, *(c for _, tagged in tags for c in tagged)]))
    if not channels:
        abort(400, "no channel is given: ask for ?channel=NAME, once for each channel")
    if len(channels) > limit:
        abort(400, too_many)
    allowed = {channel for _, tagged in tags for channel in tagged}
    for channel in map(check_channel, channels):
        if channel not in allowed and not state.hooks.may_read(channel):
            abort(403, f"you may not read the channel {channel!r}")
    return channels


def _tagged(state: LiveState, text: str) -> list[str]:
    """Return the channels of a tag; aborts with 403 if it is not this user's, or no good."""
    tag = None
    if state.tickets is not None:
        tag = state.tickets.check_tag(text, time.time(), state.options.tag_lifetime_s)
    if tag is None:
        abort(403, "the tag is not valid, or has expired: reload the page")
    if not (tag.identity.user is None or tag.identity.is_same_user(state.hooks.who())):
        abort(403, "the tag is of another user: reload the page")
    if tag.identity.user is None:
        return sorted(tag.channels)
    # Without a hub, which would know: all that was revoked since.
    batch = state.log.read(tag.place.offset, [REVOCATIONS], MAX_REVOCATIONS)
    if not batch.resumable(tag.place) or batch.complete_to < batch.head:
        abort(403, "the tag is too old: reload the page")
    for revocation in filter(None, map(revocation_of, batch.events)):
        if revocation.ends(tag.identity) and revocation.concerns(tag.channels):
            abort(403, "access to the channels of the tag was taken away: reload the page")
    return sorted(tag.channels)


def _timeout_s(state: LiveState) -> float:
    options = state.options
    text = request.args.get("timeout_s", str(options.poll_timeout_s))
    try:
        timeout_s = float(text)
    except ValueError:
        timeout_s = -1.0
    if not 0 <= timeout_s <= options.max_poll_timeout_s:
        abort(
            400,
            f"timeout_s must be a number of seconds from 0 to {options.max_poll_timeout_s:g}, "
            f"not {text[:80]!a}",
        )
    return min(timeout_s, options.fallback_stream_s)


def _is_own(origin: str) -> bool:
    return host_of(origin) == request.host.lower()


def _allow_origin(response: Response) -> Response:
    """Let pages of origins that the application's policy lists read the answer."""
    response.headers.setdefault("Cache-Control", "no-store")
    origin = request.headers.get("Origin")
    response.vary.add("Origin")
    allowed = {} if origin is None else _policy(current_state()).headers(origin)
    if allowed and "Access-Control-Allow-Origin" not in response.headers:
        response.headers.update(allowed)
        response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "")
            response.headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
    return response
