"""`GET socket`: WebSocket, JSON both ways; one connection may change its channels.

A client says `{"type": "subscribe", "channels": ["posts"], "after": "CURSOR"}` (`after` may
be left out), `{"type": "unsubscribe", "channels": [...]}` or `{"type": "ping"}`. It gets
`subscribed`, `unsubscribed`, `pong` and `error` messages, which have a `type`, and events,
which have `id`, `channel`, `event` and `data` as on every transport.
"""

from __future__ import annotations

import json
from typing import Any

from tornado.websocket import WebSocketHandler

from flasknado.live.errors import InvalidCursor, InvalidEvent, LiveError, TooManySubscribers
from flasknado.live.event import Cursor, parse_cursor
from flasknado.live.frames import WEBSOCKET, websocket_frame
from flasknado.live.hub import Hub
from flasknado.live.subscriber import StreamSubscriber
from flasknado.live.transports.base import LiveHandler, check_channels, error_body, refusals
from flasknado.native import Refused

CLOSE_TOO_BIG = 1009
CLOSE_RESTART = 1012
CLOSE_TRY_LATER = 1013
"""RFC 6455, section 7.4.1, and IANA's WebSocket close code registry."""

HARD_LIMIT_FACTOR = 8
"""How far above our limit Tornado's lies, which closes without reading what was sent."""


class SocketSubscriber(StreamSubscriber):
    """A WebSocket client: Tornado reads from its stream, the hub writes to it."""

    __slots__ = ("_handler",)

    def __init__(self, hub: Hub, handler: SocketHandler) -> None:
        super().__init__(hub, WEBSOCKET)
        self._handler = handler

    def say(self, message: dict[str, Any]) -> None:
        """Write a message of the protocol itself."""
        self.write(websocket_frame(0x1, json.dumps(message, separators=(",", ":")).encode()))

    def dismiss(self, retry_s: float) -> None:  # noqa: ARG002
        self._handler.end(CLOSE_RESTART, "the server is restarting: reconnect")


class SocketHandler(LiveHandler, WebSocketHandler):
    """One WebSocket client. Its messages are dealt with one after another."""

    subscriber: SocketSubscriber | None = None

    async def prepare(self) -> None:
        if self.request.method == "GET":
            with refusals():
                await self.hub().ready()

    def check_origin(self, origin: str) -> bool:
        return self.same_origin(origin) or self.allows_origin(origin)

    @property
    def max_message_size(self) -> int:
        return self.state.options.max_message_bytes * HARD_LIMIT_FACTOR

    def open(self, *args: str, **kwargs: str) -> None:  # noqa: ARG002
        assert self.ws_connection is not None
        hub = self.hub()
        subscriber = SocketSubscriber(hub, self)
        try:
            hub.admit(subscriber)
        except TooManySubscribers:
            self.close(CLOSE_TRY_LATER, "this process holds as many live clients as it may")
            return
        stream: Any = self.ws_connection.stream
        subscriber.attach(stream)
        self.subscriber = subscriber

    async def on_message(self, message: str | bytes) -> None:
        subscriber = self.subscriber
        if subscriber is None or subscriber.gone:
            return
        limit_bytes = self.state.options.max_message_bytes
        size_bytes = len(message.encode() if isinstance(message, str) else message)
        if size_bytes > limit_bytes:
            self.end(CLOSE_TOO_BIG, f"a message may have {limit_bytes} bytes")
            return
        request: dict[str, Any] = {}
        try:
            request = _parse(message)
            await self._act(subscriber, request)
        except Refused as error:
            self._complain(subscriber, request, error.status_code, error.message)
        except (InvalidEvent, InvalidCursor) as error:
            self._complain(subscriber, request, 400, str(error))
        except LiveError as error:
            self._complain(subscriber, request, 503, str(error))

    async def _act(self, subscriber: SocketSubscriber, request: dict[str, Any]) -> None:
        kind = request.get("type")
        hub = self.hub()
        if kind == "ping":
            place = hub.place_of(subscriber)
            subscriber.say({"type": "pong", "id": None if place is None else str(place)})
        elif kind == "subscribe":
            channels = _channels(request)
            after = _after(request)
            together = dict.fromkeys([*subscriber.channels, *channels])
            check_channels(together, hub.options.max_channels)
            await self.authorize(channels)
            await hub.ready()
            if not subscriber.gone:
                subscriber.say({"type": "subscribed", "channels": channels})
                hub.subscribe(subscriber, channels, after)
        elif kind == "unsubscribe":
            channels = _channels(request)
            hub.unsubscribe(subscriber, channels)
            subscriber.say({"type": "unsubscribed", "channels": channels})
        else:
            raise Refused(
                400,
                f"the message's type is {str(kind)[:80]!a}: "
                f"it must be subscribe, unsubscribe or ping",
            )

    def _complain(
        self, subscriber: SocketSubscriber, request: dict[str, Any], status: int, message: str
    ) -> None:
        if not subscriber.gone:
            about = {key: value for key, value in request.items() if key in ("channels", "after")}
            subscriber.say({"type": "error", **error_body(status, message), **about})

    def end(self, code: int, reason: str) -> None:
        """Close the connection; nothing may follow the closing frame, so the hub lets go first."""
        self.on_close()
        self.close(code, reason)

    def on_close(self) -> None:
        if self.subscriber is not None:
            self.subscriber.leave()


def _parse(message: str | bytes) -> dict[str, Any]:
    try:
        request = json.loads(message)
    except (ValueError, RecursionError):
        raise Refused(400, "the message is not JSON") from None
    if not isinstance(request, dict):
        raise Refused(400, 'the message is not a JSON object, such as {"type": "ping"}')
    return request


def _channels(request: dict[str, Any]) -> list[str]:
    channels = request.get("channels")
    if not isinstance(channels, list) or not channels:
        raise Refused(400, 'channels must be a list of names, such as ["posts"]')
    if not all(isinstance(channel, str) for channel in channels):
        raise InvalidEvent("a channel is named by a string")
    return list(dict.fromkeys(channels))


def _after(request: dict[str, Any]) -> Cursor | None:
    after = request.get("after")
    if after is None:
        return None
    if not isinstance(after, str):
        raise InvalidCursor("after must be a cursor, the id of an event")
    return parse_cursor(after)
