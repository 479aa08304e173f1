"""What a WebSocket client may say, and the answers; every message is a JSON object.

`{"type": "subscribe", "channels": ["posts"], "after": "CURSOR", "last": 5, "ticket": "..."}` (the
last three may be left out), `{"type": "unsubscribe", "channels": [...]}`, `{"type": "ping"}` and
`{"type": "message", "channel": "chat:1", "data": ..., "ref": ..., "connection": ...}` (the last two
may be). The answers have a `type`: `subscribed`, `unsubscribed`, `pong`, `reply` and `error`. An
event has `id`, `channel`, `event` and `data`, as on every transport.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Collection
from typing import Any

from flask import current_app
from flask import request as flask_request

from flasknado.live.endpoints.access import authorize, check_channels, grants
from flasknado.live.endpoints.base import error_body
from flasknado.live.endpoints.socket_subscriber import SocketSubscriber
from flasknado.live.errors import InvalidCursor, InvalidEvent, LiveError, TooManySubscribers
from flasknado.live.event import (
    BY_KEY,
    Cursor,
    check_channel,
    check_last,
    connection_digest,
    is_pattern,
)
from flasknado.live.formats import TICKET_MARK, cursor_or_reset
from flasknado.live.hooks import Hooks
from flasknado.live.log.presence import SUFFIX
from flasknado.live.state import encode_json
from flasknado.live.tickets import Access, Identity
from flasknado.native.in_flask import Refused, in_flask
from flasknado.native.lane import LaneSettings
from flasknado.websocket import codec

log = logging.getLogger("flasknado.live")

_REPEATED = ("channels", "channel", "after", "ref")


class Stranger(Refused):
    """Who sends a message is not who the connection is of."""


class Conversation(SocketSubscriber):
    """A WebSocket client that says what it wants to follow, and may send messages."""

    __slots__ = ()

    async def answer(self, payload: bytes, *, within_rate: bool) -> None:
        """Answer one message. On the loop's thread."""
        request: dict[str, Any] = {}
        try:
            request = _parse(payload)
            if not within_rate:
                raise Refused(
                    429,
                    f"a client may send at most {self.state.options.max_messages_per_s:g} messages "
                    f"a second (LIVE_MAX_MESSAGES_PER_S): this one was dropped",
                )
            await self._act(request)
        except TooManySubscribers as error:
            self.close(codec.CLOSE_TRY_LATER, str(error))
        except Stranger:
            # By a ticket, or with a session of the server that has changed: it comes back as
            # who it is now.
            self.hub.kick(self, "changed")
        except Refused as error:
            self._complain(request, error.status_code, error.message)
        except (InvalidEvent, InvalidCursor) as error:
            self._complain(request, 400, str(error))
        except LiveError as error:
            self._complain(request, 503, str(error))
        except Exception:
            log.exception("a live client's message could not be answered")
            self.close(codec.CLOSE_INTERNAL_ERROR, "internal error: reconnect")

    async def _act(self, request: dict[str, Any]) -> None:
        kind = request.get("type")
        if self.format.takes_forms and ("HEADERS" in request or "headers" in request):
            # A form that htmx sends: its fields are the message.
            request = self._message_of_form(request)
            kind = "message"
        if kind == "ping":
            place = self.hub.place_of(self)
            self.say({"type": "pong", "id": None if place is None else str(place)})
        elif kind == "subscribe":
            await self._subscribe(request)
        elif kind == "unsubscribe":
            channels = _channels(request)
            self.hub.unsubscribe(self, [*channels, *(c + SUFFIX for c in channels)])
            self.say({"type": "unsubscribed", "channels": channels})
        elif kind == "message":
            await self._take_message(request)
        else:
            raise Refused(
                400,
                f"the message's type must be subscribe, unsubscribe, message or ping, "
                f"not {str(kind)[:80]!a}",
            )

    async def _subscribe(self, request: dict[str, Any]) -> None:
        hub = self.hub
        channels = _channels(request)
        after, ticket = _after(request)
        last = check_last(request.get("last", 0), hub.options.max_last)
        named = [channel for channel in self.channels if not channel.endswith(SUFFIX)]
        together = dict.fromkeys([*named, *channels])
        check_channels(together, hub.options)
        connection = request.get("connection")
        if connection is not None:
            self.digest = connection_digest(str(connection))
        access = await authorize(self.caller, self.state, channels, ticket)
        if self.gone:
            return
        if not hub.identify(self, access):
            hub.kick(self, "changed")
            return
        if self.grants is None and any(map(is_pattern, channels)):
            self.grants = grants(self.caller, self.state)
        who = self.state.page_key(access.identity.user)
        # Said when the log has been read, and not before: a reader that hangs reads nothing.
        said = self.frame({"type": "subscribed", "channels": channels, "who": who})
        # Interned: thousands of clients name the same few channels.
        interned = [sys.intern(channel) for channel in channels]
        presence = request.get("presence") is True
        await hub.follow(self, interned, after, said, last=last, presence=presence)

    def begin(
        self, channels: Collection[str], after: Cursor | None, last: int, access: Access
    ) -> None:
        """Follow the channels of the handshake's query, which may be read."""
        who = self.state.page_key(access.identity.user)
        self.say({"type": "subscribed", "channels": list(channels), "who": who})
        if not self.gone:
            self.hub.subscribe(self, map(sys.intern, channels), after, last)

    async def _take_message(self, request: dict[str, Any]) -> None:
        channel = check_channel(request.get("channel"))  # type: ignore[arg-type]  # it checks that too
        granted = self.grants is not None and self.grants.allows(channel)
        if channel not in self.channels and not granted:
            raise Refused(403, f"subscribe to the channel {channel!r} before you send to it")
        connection = request.get("connection")
        # A page that shares this WebSocket says which one it is.
        by = self.digest if connection is None else connection_digest(str(connection))
        options = self.state.options
        answer = await in_flask(
            self.caller,
            _answer,
            self.state.hooks,
            self.identity,
            by,
            channel,
            request.get("data"),
            timeout_s=options.message_timeout_s,
            # Of their own: a slow message must not hold up who wants to subscribe.
            lane=LaneSettings("live-message", options.message_threads, options.message_queue),
        )
        if answer is not None or "ref" in request:
            data = None if answer is None else json.loads(answer)
            self.say({"type": "reply", "ref": request.get("ref"), "data": data})

    def _message_of_form(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the message to the channel that a form names, or the only one that there is."""
        fields = {k: v for k, v in request.items() if k not in ("HEADERS", "headers", "channel")}
        followed = [channel for channel in self.channels if not channel.endswith(SUFFIX)]
        channel = request.get("channel", followed[0] if len(followed) == 1 else None)
        if channel is None:
            raise Refused(
                400, "the form has no field channel, and needs one unless exactly one is followed"
            )
        return {"channel": channel, "data": fields}

    def _complain(self, request: dict[str, Any], status: int, message: str) -> None:
        about = {key: value for key, value in request.items() if key in _REPEATED}
        self.say({"type": "error", **error_body(status, message), **about})


def _answer(
    hooks: Hooks, expected: Identity, by: str | None, channel: str, data: Any
) -> str | None:
    """Give a message to the application, in a request context of the client's handshake."""
    if not expected.is_same_user(hooks.who()):
        raise Stranger(403, "this connection is of another user now: connect again")
    if by is not None:
        flask_request.environ[BY_KEY] = by
    answer = hooks.answer(channel, data)
    return None if answer is None else encode_json(answer, current_app)


def _parse(payload: bytes) -> dict[str, Any]:
    try:
        request = json.loads(payload)
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
        raise InvalidEvent("a channel must be a string")
    return list(dict.fromkeys(channels))


def _after(request: dict[str, Any]) -> tuple[Cursor | None, str | None]:
    """Return the cursor and the ticket, which may come together as on an event stream."""
    after, ticket = request.get("after"), request.get("ticket")
    if ticket is not None and not isinstance(ticket, str):
        raise Refused(400, "ticket must be the string that the server sent")
    if after is None:
        return None, ticket
    if not isinstance(after, str):
        raise InvalidCursor("after must be a cursor, the id of an event")
    return cursor_or_reset(after), ticket or after.partition(TICKET_MARK)[2] or None
