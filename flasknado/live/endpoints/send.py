"""`POST send`: a message of a client that has no WebSocket, answered `{"data": ...}`.

    {"channel": "chat:1", "data": ..., "who": ...}

What a message means is as on a WebSocket (`@live.on_message`). Its sender must be allowed to
read the channel and, if the page says whose it is (`who`, as `Live.page_key` does), be that user.
"""

from __future__ import annotations

from typing import Any

from flasknado.live.endpoints.access import refusals
from flasknado.live.endpoints.base import BodyHandler
from flasknado.live.said import JSON_ONLY, answer_to, message_in
from flasknado.native.in_flask import Refused, in_flask
from flasknado.native.lane import LaneSettings


class SendHandler(BodyHandler):
    """Takes a message of LIVE_MAX_MESSAGE_BYTES at most."""

    async def prepare(self) -> None:
        await super().prepare()
        if self.request.method != "POST":
            return
        origin = self.request.headers.get("Origin")
        if not (origin is None or self.own_page or self.origin_policy.allows(origin)):
            raise Refused(403, f"pages of {origin[:80]!a} may not send")
        content_type, _, _ = self.request.headers.get("Content-Type", "").partition(";")
        if content_type.strip().lower() != "application/json":
            raise Refused(415, JSON_ONLY)
        connection: Any = self.request.connection
        connection.set_max_body_size(self.state.options.max_message_bytes)

    async def post(self) -> None:
        options = self.state.options
        with refusals():
            message = message_in(bytes(self._body))
        answer = await in_flask(
            self,
            answer_to,
            self.state,
            message,
            timeout_s=options.message_timeout_s,
            lane=LaneSettings("live-message", options.message_threads, options.message_queue),
        )
        self.set_header("Content-Type", "application/json")
        self.finish(answer)
