"""Engine.IO v4 packets: bytes of a transport to packets, packets to bytes. Pure.

On WebSocket each packet is a message: text begins with the packet's type, and binary data is
the data of a message packet. On HTTP long-polling packets are text, joined by a record
separator, and binary data is base64 behind a `b`.
(https://github.com/socketio/engine.io-protocol, sections "Protocol" and "Packet encoding")
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import ClassVar, Final

from flasknado.errors import FlasknadoError
from flasknado.websocket import codec

PROTOCOL: Final = "4"

OPEN: Final = "0"
CLOSE: Final = "1"
PING: Final = "2"
PONG: Final = "3"
MESSAGE: Final = "4"
UPGRADE: Final = "5"
NOOP: Final = "6"
TYPES: Final = frozenset((OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP))

PROBE: Final = "probe"
SEPARATOR: Final = "\x1e"
BINARY: Final = "b"

Data = str | bytes
"""What a message packet carries."""


class ProtocolError(FlasknadoError):
    """What a client sent is not of the protocol, so its session ends."""


def packet_of(text: str) -> tuple[str, Data]:
    """Return the type and the data of a packet of long-polling, or of a text message.

    Raises `ProtocolError`.
    """
    kind = text[:1]
    if kind == BINARY:
        try:
            return MESSAGE, base64.b64decode(text[1:], validate=True)
        except (binascii.Error, ValueError):
            raise ProtocolError("the binary packet is not base64") from None
    if kind not in TYPES:
        raise ProtocolError("the packet has no known type")
    return kind, text[1:]


class Outgoing:
    """One message of one or more pieces, encoded once for all the clients that get it.

    The first piece of a Socket.IO packet is text (or bytes of msgpack), the others are its
    attachments. May be made on any thread.
    """

    __slots__ = ("_packets", "frames_once", "pieces", "size_bytes")

    joins: ClassVar[bool] = True
    """Whether it may be written together with others."""

    def __init__(self, pieces: Sequence[Data]) -> None:
        self.pieces = pieces
        self.size_bytes = sum(map(len, pieces))
        """About how much it is, for the bounds of what waits."""
        self.frames_once: bytes | None = None
        """The WebSocket frames, if they have been asked for before."""
        self._packets: str | None = None

    @property
    def frames(self) -> bytes:
        """The WebSocket frames."""
        frames = self.frames_once
        if frames is None:
            frames = self.frames_once = b"".join(map(_frame, self.pieces))
        return frames

    @property
    def packets(self) -> str:
        """The packets of a long-polling payload."""
        packets = self._packets
        if packets is None:
            packets = self._packets = SEPARATOR.join(map(_packet, self.pieces))
        return packets


class Control(Outgoing):
    """A packet of the protocol itself, such as a ping."""

    __slots__ = ()

    def __init__(self, packet: str) -> None:
        super().__init__(())
        self._packets = packet
        self.frames_once = codec.frame(codec.TEXT, packet.encode())
        self.size_bytes = len(packet)


def _frame(piece: Data) -> bytes:
    if isinstance(piece, str):
        return codec.frame(codec.TEXT, b"4" + piece.encode("utf-8", "replace"))
    return codec.frame(codec.BINARY, piece)


def _packet(piece: Data) -> str:
    if isinstance(piece, str):
        return MESSAGE + piece
    return BINARY + base64.b64encode(piece).decode()


PING_PACKET: Final = Control(PING)
PROBE_ANSWER: Final = Control(PONG + PROBE)
CLOSE_PACKET: Final = Control(CLOSE)
NOOP_PACKET: Final = Control(NOOP)
