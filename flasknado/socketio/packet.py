"""Socket.IO v5 packets: messages of Engine.IO to packets, packets to messages. Pure.

A packet has a type, a namespace, perhaps an acknowledgement id, and data. Written with the
default parser it is one text message, `<type>[<attachments>-][<namespace>,][<id>][<JSON>]`, and
one binary message for each piece of `bytes` in the data.
(https://github.com/socketio/socket.io-protocol, "Packet encoding")

What a client can make us hold is bounded: the attachments of a packet by number and bytes,
acknowledgement ids by their length, and arrays and objects by their number. That is the time that
a packet takes, too: while one is decoded, no other thread runs, so it is of no use to do it on one.
"""

from __future__ import annotations

import functools
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from flasknado.socketio.engineio.packet import Data, ProtocolError

CONNECT: Final = 0
DISCONNECT: Final = 1
EVENT: Final = 2
ACK: Final = 3
CONNECT_ERROR: Final = 4
BINARY_EVENT: Final = 5
BINARY_ACK: Final = 6

MAX_ATTACHMENTS: Final = 100
"""How many pieces of binary data a client's packet may have."""
MAX_ID: Final = 2**53
"""Acknowledgement ids are numbers of JavaScript."""
MAX_NAMESPACE_CHARS: Final = 128
MAX_DEPTH: Final = 64
"""How deeply the data of a packet with attachments may be nested."""
MAX_CONTAINERS: Final = 100_000
"""How many arrays and objects a client's packet may have: they take longest to decode."""

TOO_MANY_CONTAINERS: Final = f"a packet may have at most {MAX_CONTAINERS:,} arrays and objects"

ROOT: Final = "/"

_SEPARATORS: Final = (",", ":")
_HEADER: Final = re.compile(
    r"(?P<type>[0-6])(?:(?P<attachments>[0-9]{1,3})-)?"
    r"(?:(?P<namespace>/[^,]*),?)?(?P<id>[0-9]{1,16})?"
)
_WITH_ATTACHMENTS: Final = {BINARY_EVENT: EVENT, BINARY_ACK: ACK}
_AS_BINARY: Final = {EVENT: BINARY_EVENT, ACK: BINARY_ACK}
_FROM_CLIENTS: Final = frozenset((CONNECT, DISCONNECT, EVENT, ACK))


class Packet(NamedTuple):
    """One packet. `type` is never one of the binary ones: `data` says by itself."""

    type: int
    namespace: str = ROOT
    data: Any = None
    id: int | None = None


class Parser(ABC):
    """How packets are written; one for all clients of a server. May be used on any thread."""

    @abstractmethod
    def encode(self, packet: Packet) -> list[Data]:
        """Return the messages of a packet; raises `TypeError` or `ValueError`."""

    @abstractmethod
    def begin(self, data: Data) -> Packet | Incomplete:
        """Return the packet that a message is, or begins; raises `ProtocolError`."""


class Incomplete:
    """A packet whose attachments have not all come."""

    __slots__ = ("_attachments", "_left_bytes", "_packet", "_wanted", "size_bytes")

    def __init__(self, packet: Packet, wanted: int, max_bytes: int) -> None:
        self._packet = packet
        self._wanted = wanted
        self._left_bytes = max_bytes
        self._attachments: list[bytes | None] = []
        self.size_bytes = 0
        """How large the attachments are that have come."""

    def add(self, data: Data) -> Packet | None:
        """Take the next message; returns the packet if it is whole. Raises `ProtocolError`."""
        if isinstance(data, str):
            raise ProtocolError("text came where an attachment was due")
        self._left_bytes -= len(data)
        self.size_bytes += len(data)
        if self._left_bytes < 0:
            raise ProtocolError("the attachments of a packet are too large")
        self._attachments.append(data)
        if len(self._attachments) < self._wanted:
            return None
        packet = self._packet
        return packet._replace(data=_filled(packet.data, self._attachments, MAX_DEPTH))


class DefaultParser(Parser):
    """The default parser: JSON, with binary data beside it.

    json_module: one with the standard library's `dumps()` and `loads()`, such as `app.json`.
    max_bytes: what the attachments of one packet may be together.
    """

    def __init__(self, json_module: Any = json, max_bytes: int = 1_000_000) -> None:
        self._dumps: Callable[[Any], str]
        if json_module is json:
            # NaN is no JSON: it would be the client that fails, at reading it.
            encoder = json.JSONEncoder(allow_nan=False, separators=_SEPARATORS)
            self._dumps = encoder.encode
        else:
            self._dumps = functools.partial(json_module.dumps, separators=_SEPARATORS)
        self._loads = json_module.loads
        self._max_bytes = max_bytes

    def encode(self, packet: Packet) -> list[Data]:
        attachments: list[Data] = []
        kind, data = packet.type, packet.data
        if kind in _AS_BINARY and _has_bytes(data):
            data = _emptied(data, attachments)
            kind = _AS_BINARY[kind]
        text = str(kind)
        if attachments:
            text += f"{len(attachments)}-"
        if packet.namespace != ROOT:
            text += f"{packet.namespace},"
        if packet.id is not None:
            text += str(packet.id)
        if data is not None:
            text += self._dumps(data)
        return [text, *attachments]

    def begin(self, data: Data) -> Packet | Incomplete:
        if isinstance(data, bytes):
            raise ProtocolError("binary data came that belongs to no packet")
        match = _HEADER.match(data)
        if match is None:
            raise ProtocolError("the packet has no known type")
        kind = int(match["type"])
        rest = data[match.end() :]
        body: Any = None
        if rest:
            if len(rest) > 2 * MAX_CONTAINERS and _containers(rest) > MAX_CONTAINERS:
                raise ProtocolError(TOO_MANY_CONTAINERS)
            try:
                body = self._loads(rest)
            except (ValueError, RecursionError):
                raise ProtocolError("the data of a packet is not JSON") from None
        wanted = 0
        if kind in _WITH_ATTACHMENTS:
            kind = _WITH_ATTACHMENTS[kind]
            if match["attachments"] is None:
                raise ProtocolError("a binary packet does not say how many attachments it has")
            wanted = int(match["attachments"])
            if wanted > MAX_ATTACHMENTS:
                raise ProtocolError(f"a packet may have at most {MAX_ATTACHMENTS} attachments")
        elif match["attachments"] is not None:
            raise ProtocolError("a packet without binary data has no attachments")
        ack_id = None if match["id"] is None else int(match["id"])
        packet = checked(Packet(kind, match["namespace"] or ROOT, body, ack_id))
        return Incomplete(packet, wanted, self._max_bytes) if wanted else packet


def checked(packet: Packet) -> Packet:
    """Return a client's packet without the query of its namespace; raises `ProtocolError`."""
    namespace = packet.namespace.partition("?")[0]
    if len(namespace) > MAX_NAMESPACE_CHARS:
        raise ProtocolError(f"a namespace has at most {MAX_NAMESPACE_CHARS} characters")
    kind, data = packet.type, packet.data
    if kind not in _FROM_CLIENTS:
        raise ProtocolError("clients do not send packets of this type")
    if kind == EVENT and not (isinstance(data, list) and data and isinstance(data[0], str)):
        raise ProtocolError("an event is a list that begins with the event's name")
    if kind == ACK and (not isinstance(data, list) or packet.id is None):
        raise ProtocolError("an acknowledgement is a list, and has an id")
    if kind == CONNECT and not (data is None or isinstance(data, dict)):
        raise ProtocolError("what a client connects with is an object")
    if packet.id is not None and not 0 <= packet.id <= MAX_ID:
        raise ProtocolError("the acknowledgement id is out of range")
    return packet._replace(namespace=namespace)


def _containers(text: str) -> int:
    """Return how many arrays and objects JSON has, or more if it is none."""
    count = text.count("[") + text.count("{")
    if count > MAX_CONTAINERS:  # those in strings are none
        outside = text.replace("\\\\", "").replace('\\"', "").split('"')[::2]
        count = sum(part.count("[") + part.count("{") for part in outside)
    return count


def _has_bytes(data: Any) -> bool:
    if isinstance(data, (bytes, bytearray)):
        return True
    if isinstance(data, dict):
        return any(map(_has_bytes, data.values()))
    return isinstance(data, (list, tuple)) and any(map(_has_bytes, data))


def _emptied(data: Any, attachments: list[Data]) -> Any:
    """Return data with placeholders where bytes were, which are added to `attachments`."""
    if isinstance(data, (bytes, bytearray)):
        attachments.append(bytes(data))
        return {"_placeholder": True, "num": len(attachments) - 1}
    if isinstance(data, dict):
        return {key: _emptied(value, attachments) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_emptied(item, attachments) for item in data]
    return data


def _filled(data: Any, attachments: list[bytes | None], depth: int) -> Any:
    """Return data with attachments where placeholders were; raises `ProtocolError`.

    Each attachment once: whoever sends data on would multiply one that stands in many places.
    """
    if isinstance(data, dict):
        if data.get("_placeholder") is True:
            number = data.get("num")
            if type(number) is int and 0 <= number < len(attachments):
                attachment = attachments[number]
                if attachment is not None:
                    attachments[number] = None
                    return attachment
            raise ProtocolError("a placeholder names no attachment, or one that is taken")
        if depth:
            return {k: _filled(value, attachments, depth - 1) for k, value in data.items()}
    elif isinstance(data, list):
        if depth:
            return [_filled(item, attachments, depth - 1) for item in data]
    else:
        return data
    raise ProtocolError(f"data with attachments may be nested {MAX_DEPTH} deep")
