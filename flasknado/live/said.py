"""What clients say over HTTP, read and checked: events to publish, messages, and runs to stop."""

from __future__ import annotations

import hmac
import json
from typing import Any, NamedTuple

from flask import abort, current_app

from flasknado.live.errors import InvalidEvent
from flasknado.live.event import check_channel
from flasknado.live.log.tables import Draft
from flasknado.live.state import LiveState, draft_of, encode_json

MAX_EVENTS = 100
MAX_PUBLISH_BYTES = 4 * 1024 * 1024
MAX_STOP_BYTES = 4 * 1024
PUBLISHING_IS_OFF = "publishing over HTTP is disabled: set LIVE_PUBLISH_TOKEN to enable it"
SEND_THE_TOKEN = "send the token in the Authorization header: Bearer LIVE_PUBLISH_TOKEN"
JSON_ONLY = "send a message as JSON, with Content-Type: application/json"
"""No page of another site can send that without asking before (Fetch standard, CORS)."""


def has_token(authorization: str | None, expected: str) -> bool:
    """Return whether the Authorization field has the token that publishing needs."""
    scheme, _, token = (authorization or "").partition(" ")
    right = hmac.compare_digest(token.strip().encode(), expected.encode())
    return scheme.lower() == "bearer" and right


def drafts_in(body: bytes, state: LiveState) -> list[Draft]:
    """Return the events that a body asks to publish; raises `InvalidEvent`."""
    said = _json(body)
    events = said["events"] if isinstance(said, dict) and "events" in said else [said]
    if not isinstance(events, list) or not 0 < len(events) <= MAX_EVENTS:
        raise InvalidEvent(f"events must be a list of 1 to {MAX_EVENTS} events")
    return [_draft(state, event) for event in events]


def _draft(state: LiveState, said: Any) -> Draft:
    if not isinstance(said, dict) or not {"channel", "event"} <= said.keys():
        raise InvalidEvent('an event is {"channel": ..., "event": ..., "data": ...}')
    kept = said.get("kept", True) is not False
    buffered = said.get("buffered", False) is True
    return draft_of(
        state, said["channel"], said["event"], said.get("data"), kept=kept, buffered=buffered
    )


class Message(NamedTuple):
    """A message to the application. `who` is the key of the page that sends it, if it has one."""

    channel: str
    data: Any
    who: str | None


def message_in(body: bytes) -> Message:
    """Return the message that a body is; raises `InvalidEvent`."""
    said = _json(body)
    if not isinstance(said, dict) or "channel" not in said:
        raise InvalidEvent('a message is {"channel": ..., "data": ...}')
    who = said.get("who")
    if not (who is None or isinstance(who, str)):
        raise InvalidEvent("who must be the key of the page that sends (live.page_key)")
    return Message(check_channel(said["channel"]), said.get("data"), who)


def answer_to(state: LiveState, message: Message) -> str:
    """Give a message to the application if its sender may read the channel; return the JSON.

    In a request context. Raises what the application raises, and `HTTPException`: 401 if the page
    was loaded by another user, and 403.
    """
    hooks, channel = state.hooks, message.channel
    if message.who is not None and message.who != state.page_key(hooks.who().user):
        abort(401, "the page was loaded by another user than is logged in now: load it again")
    if not hooks.may_read(channel):
        abort(403, f"you may not read the channel {channel!r}, so you cannot send to it")
    answer = hooks.answer(channel, message.data)
    return '{"data":' + encode_json(answer, current_app) + "}"


def run_in(body: bytes) -> str:
    """Return the id of the run that a body asks to stop; raises `InvalidEvent`."""
    try:
        run = json.loads(body)["run"]
    except (ValueError, KeyError, TypeError, RecursionError):
        run = None
    if not isinstance(run, str):
        raise InvalidEvent('the body must be {"run": "..."}, with the id of a run')
    return run


def stop_run(state: LiveState, run_id: str) -> bool:
    """Stop a run if whoever asks may; return whether it was running.

    In a request context. Raises what the application raises, and `HTTPException` (403, 404).
    """
    run = state.runs.store.get(run_id)
    if run is None:
        abort(404, f"there is no run {run_id[:40]!a}")
    if not state.hooks.may_stop(run):
        abort(403, f"you may not stop the run {run_id!r}")
    return state.runs.stop(run_id)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidEvent("the body is not JSON") from None
