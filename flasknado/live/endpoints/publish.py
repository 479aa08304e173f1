"""`POST publish`: other programs publish, with a token.

    curl -H "Authorization: Bearer $LIVE_PUBLISH_TOKEN" http://localhost:8000/live/publish \\
         -d '{"channel": "posts", "event": "post.created", "data": {"id": 1}}'

`{"events": [...]}` publishes several in one transaction; `"kept": false` makes a signal of
one, `"buffered": true` one that is replayed for minutes only. Answered `{"cursor": "..."}`, that
of the last. The application's `before_request` functions do not run: the token is all that counts.
"""

from __future__ import annotations

import functools

import sqlalchemy as sa

from flasknado.live import said
from flasknado.live.endpoints.access import refusals
from flasknado.live.endpoints.base import BodyHandler
from flasknado.live.log.tables import Draft
from flasknado.live.state import LiveState
from flasknado.native.in_flask import Refused
from flasknado.native.lane import Call, LaneSettings, lane_of
from flasknado.pool import PoolFull

PUBLISH_LANE = LaneSettings("live-publish", 4, 64)
PUBLISH_TIMEOUT_S = 15.0
"""Longer than the log's own deadlines, whose errors say more."""


class PublishHandler(BodyHandler):
    """Checks the token before the body is read."""

    max_body_bytes = said.MAX_PUBLISH_BYTES

    async def prepare(self) -> None:
        await super().prepare()
        if self.request.method != "POST":
            return
        self._check_token(self.state.publish_token)

    async def post(self) -> None:
        state = self.state
        with refusals():
            drafts = said.drafts_in(bytes(self._body), state)
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
            raise Refused(403, said.PUBLISHING_IS_OFF)
        if not said.has_token(self.request.headers.get("Authorization"), expected):
            raise Refused(401, said.SEND_THE_TOKEN, {"WWW-Authenticate": 'Bearer realm="live"'})


def _append(state: LiveState, drafts: list[Draft]) -> str:
    with state.app.app_context():
        return str(state.log.append(drafts))
