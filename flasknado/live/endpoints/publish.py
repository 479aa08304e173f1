"""`POST publish`: other programs publish, with a token.

    curl -H "Authorization: Bearer $LIVE_PUBLISH_TOKEN" http://localhost:8000/live/publish \\
         -d '{"channel": "posts", "event": "post.created", "data": {"id": 1}}'

`{"events": [...]}` publishes several in one transaction; `"kept": false` makes a signal of
one, `"buffered": true` one that is replayed for minutes only. Answered `{"cursor": "..."}`, that
of the last. The application's `before_request` functions do not run: the token is all that counts.
"""

from __future__ import annotations

import functools
import hmac
import json
from typing import Any

import sqlalchemy as sa
from tornado.web import stream_request_body

from flasknado.live.endpoints.access import refusals
from flasknado.live.endpoints.base import LiveHandler
from flasknado.live.log.tables import Draft
from flasknado.live.state import LiveState, draft_of
from flasknado.native.in_flask import Refused
from flasknado.native.lane import Call, LaneSettings, lane_of
from flasknado.pool import PoolFull

MAX_EVENTS = 100
PUBLISH_LANE = LaneSettings("live-publish", 4, 64)
PUBLISH_TIMEOUT_S = 15.0
"""Longer than the log's own deadlines, whose errors say more."""


@stream_request_body
class PublishHandler(LiveHandler):
    """Checks the token before the body is read."""

    max_body_bytes = 4 * 1024 * 1024

    def initialize(self) -> None:
        self._body = bytearray()

    async def prepare(self) -> None:
        await super().prepare()
        if self.request.method != "POST":
            return
        self._check_token(self.state.publish_token)

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk

    async def post(self) -> None:
        state = self.state
        with refusals():
            drafts = [_draft(state, said) for said in _events(bytes(self._body))]
        lane = lane_of(PUBLISH_LANE, self.settings.get("http_server"))
        call = Call("the publishing of live events", functools.partial(_append, state, drafts))
        try:
            cursor = await lane.run(call, PUBLISH_TIMEOUT_S)
        except PoolFull:
            raise Refused(
                503, "too many events are being published: try again shortly", {"Retry-After": "2"}
            ) from None
        except TimeoutError:
            raise Refused(
                503,
                f"the log of live events was not written within {PUBLISH_TIMEOUT_S:g} s; the "
                f"events may still be published",
                {"Retry-After": "2"},
            ) from None
        except sa.exc.SQLAlchemyError as error:
            state.app.logger.error("live events could not be published: %s", error)
            raise Refused(
                503, "the log of live events cannot be written right now", {"Retry-After": "2"}
            ) from None
        self.write({"cursor": cursor})

    def _check_token(self, expected: str | None) -> None:
        if expected is None:
            raise Refused(
                403, "publishing over HTTP is disabled: set LIVE_PUBLISH_TOKEN to enable it"
            )
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        right = hmac.compare_digest(token.strip().encode(), expected.encode())
        if scheme.lower() != "bearer" or not right:
            raise Refused(
                401,
                "send the token in the Authorization header: Bearer LIVE_PUBLISH_TOKEN",
                {"WWW-Authenticate": 'Bearer realm="live"'},
            )


def _events(body: bytes) -> list[Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    events = said["events"] if isinstance(said, dict) and "events" in said else [said]
    if not isinstance(events, list) or not 0 < len(events) <= MAX_EVENTS:
        raise Refused(400, f"events must be a list of 1 to {MAX_EVENTS} events")
    return events


def _draft(state: LiveState, said: Any) -> Draft:
    if not isinstance(said, dict) or not {"channel", "event"} <= said.keys():
        raise Refused(400, 'an event is {"channel": ..., "event": ..., "data": ...}')
    kept = said.get("kept", True) is not False
    buffered = said.get("buffered", False) is True
    return draft_of(
        state, said["channel"], said["event"], said.get("data"), kept=kept, buffered=buffered
    )


def _append(state: LiveState, drafts: list[Draft]) -> str:
    with state.app.app_context():
        return str(state.log.append(drafts))
