"""What clients say over HTTP, read and checked: events to publish, and messages."""

from __future__ import annotations

import hmac
import json
from typing import Any

from flask import abort, current_app

from flasknado.live.errors import InvalidEvent
from flasknado.live.event import check_channel
from flasknado.live.hooks import Hooks
from flasknado.live.log.tables import Draft
from flasknado.live.state import LiveState, draft_of, encode_json

MAX_EVENTS = 100
MAX_PUBLISH_BYTES = 4 * 1024 * 1024
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


def message_in(body: bytes) -> tuple[str, Any]:
    """Return the channel and the data of a message; raises `InvalidEvent`."""
    said = _json(body)
    if not isinstance(said, dict) or "channel" not in said:
        raise InvalidEvent('a message is {"channel": ..., "data": ...}')
    return check_channel(said["channel"]), said.get("data")


def answer_to(hooks: Hooks, channel: str, data: Any) -> str:
    """Give a message to the application if its sender may read the channel; return the JSON.

    In a request context. Raises what the application raises, and `HTTPException` (403).
    """
    if not hooks.may_read(channel):
        abort(403, f"you may not read the channel {channel!r}, so you cannot send to it")
    answer = hooks.answer(channel, data)
    return '{"data":' + encode_json(answer, current_app) + "}"


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidEvent("the body is not JSON") from None
