"""What processes tell each other of: events, and who enters and leaves rooms. Through the log.

Each room of each namespace is a channel of the log of live events. What is told is written as
signals, which nobody reads again; durable events are buffered events of their rooms' channels,
from which clients recover (`flasknado.socketio.recovery`). Channels and names are the log's own
kind, with a `!`, so that no subscriber of live events can name them.

May be used on any thread.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from flask import has_app_context

from flasknado.live.event import Event
from flasknado.live.log.tables import Draft
from flasknado.live.state import LiveState
from flasknado.socketio.deliveries import Target
from flasknado.socketio.engineio.packet import Data, ProtocolError
from flasknado.socketio.errors import SocketIOError
from flasknado.socketio.message import Message
from flasknado.socketio.packet import Packet, Parser

log = logging.getLogger("flasknado.socketio")

MAX_EVENT_BYTES: Final = 1_000_000
"""The largest event that goes through the log."""

EMIT: Final = "emit"
ACK: Final = "ack"
ENTER: Final = "enter"
LEAVE: Final = "leave"
CLOSE_ROOM: Final = "close_room"
DISCONNECT: Final = "disconnect"
DISPLACE: Final = "displace"
SESSION: Final = "session"

_PREFIX: Final = "!sio:"


class Told(NamedTuple):
    """What a process has told."""

    what: str
    origin: str
    offset: int
    fields: dict[str, Any]


class Bus:
    """The way to the other processes of one application.

    `channel` keeps applications that share a log apart.
    """

    def __init__(self, state: LiveState, channel: str) -> None:
        self.state = state
        self._prefix = f"{_PREFIX}{_digest(channel, size=6)}:"
        self._process = 0
        self._origin = ""

    @property
    def origin(self) -> str:
        """The name of this process."""
        if self._process != os.getpid():
            self._process, self._origin = os.getpid(), secrets.token_hex(8)
        return self._origin

    @property
    def reaches_others(self) -> bool:
        """Whether there can be others."""
        return not self.state.log.one_process

    def channel_of(self, namespace: str, key: str | None) -> str:
        """Return the log's channel for a room; `None`: for a whole namespace."""
        return self._prefix + _digest(namespace, "all" if key is None else f"room {key}")

    def _session_channel(self, pid: str, namespace: str) -> str:
        """Return the log's channel for what is kept of a client that may come back."""
        return self._prefix + _digest("session", pid, namespace)

    def tell(self, what: str, **fields: Any) -> None:
        """Tell the other processes of something that is not kept."""
        if self.reaches_others:
            self._signal(Draft(self._prefix + what, what, self._data(fields), kept=False))

    def emit(self, target: Target, message: Message, ack: int | None = None) -> None:
        """Have the other processes deliver an event; `ack`: by what to name its answers."""
        if not self.reaches_others:
            return
        fields = _event_fields(target, message)
        if ack is not None:
            fields["ack"] = ack
        key = target.keys[0] if target.keys else None
        channel = self.channel_of(target.namespace, key)
        self._signal(Draft(channel, EMIT, self._data(fields), kept=False))

    def publish(self, target: Target, message: Message) -> None:
        """Have every process, this one too, deliver an event that can be recovered."""
        fields = _event_fields(target, message)
        for number, key in enumerate(target.keys if target.keys is not None else (None,)):
            data = self._data(fields | {"number": number})
            channel = self.channel_of(target.namespace, key)
            self._publish(Draft(channel, EMIT, data, kept=True, buffered=True))

    def keep_session(self, pid: str, namespace: str, fields: dict[str, Any]) -> None:
        """Keep what a client needs to be recovered, for as long as buffered events are kept."""
        channel = self._session_channel(pid, namespace)
        draft = Draft(channel, SESSION, self._data(fields), kept=True, buffered=True)
        self._publish(draft)

    def kept_session(self, pid: str, namespace: str) -> dict[str, Any] | None:
        """Return what is kept of a client; blocking."""
        self.state.log.flush()  # it may have been here a moment ago
        self.state.log.settle()
        events = self.state.log.newest(self._session_channel(pid, namespace), 1)
        told = told_of(events[0]) if events else None
        return told.fields if told is not None and "sid" in told.fields else None

    def heard(self, events: Sequence[Event]) -> Iterator[Told]:
        """Yield what was told, of the events of the log."""
        for event in events:
            if event.channel.startswith(self._prefix) and event.name != SESSION:
                told = told_of(event)
                if told is not None:
                    yield told

    def _data(self, fields: dict[str, Any]) -> str:
        data = json.dumps({"origin": self.origin, **fields}, separators=(",", ":"))
        if len(data) > MAX_EVENT_BYTES:
            raise SocketIOError(
                f"an event for other processes may have at most {MAX_EVENT_BYTES} bytes: "
                f"send an id and let the client fetch the rest"
            )
        return data

    def _publish(self, draft: Draft) -> None:
        with self._context():
            self.state.log.publish_buffered(draft)

    def _signal(self, draft: Draft) -> None:
        if not self.state.signal(draft):
            with self._context():
                self.state.log.append([draft])

    def _context(self) -> contextlib.AbstractContextManager[object]:
        """Return the application's context, for threads that have none."""
        return contextlib.nullcontext() if has_app_context() else self.state.app.app_context()


def told_of(event: Event) -> Told | None:
    """Return what an event of the log tells; `None`, and a log line, if it makes no sense."""
    try:
        fields = json.loads(event.data)
        return Told(event.name, fields.pop("origin"), event.offset, fields)
    except (ValueError, KeyError, TypeError, AttributeError):
        log.error("event %d of the log is not of Socket.IO: %.200r", event.offset, event.data)
        return None


def target_of(fields: dict[str, Any]) -> Target:
    """Return who gets an event that was told."""
    keys = fields["keys"]
    return Target(
        fields["namespace"],
        None if keys is None else tuple(keys),
        frozenset(fields["skip"]),
    )


def message_of(parser: Parser, fields: dict[str, Any]) -> Message:
    """Return an event that was told."""
    pieces: list[Data] = [
        piece if isinstance(piece, str) else base64.b64decode(piece[0])
        for piece in fields["pieces"]
    ]
    packet = parser.begin(pieces[0])
    for piece in pieces[1:]:
        if isinstance(packet, Packet):
            raise ProtocolError("an event has more attachments than it says")
        whole = packet.add(piece)
        if whole is not None:
            packet = whole
    if not isinstance(packet, Packet):
        raise ProtocolError("an event lacks attachments")
    return Message(parser, packet)


def _event_fields(target: Target, message: Message) -> dict[str, Any]:
    return {
        "namespace": target.namespace,
        "keys": target.keys,
        "skip": sorted(target.skip),
        "pieces": [
            piece if isinstance(piece, str) else [base64.b64encode(piece).decode()]
            for piece in message.pieces
        ],
    }


def _digest(*parts: str, size: int = 16) -> str:
    # Each part apart from the next: rooms have any names.
    joined = json.dumps(parts).encode()
    return hashlib.blake2b(joined, digest_size=size).hexdigest()
