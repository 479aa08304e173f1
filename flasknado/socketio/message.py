"""Socket.IO packets on their way to clients, written once for all of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flasknado.socketio.engineio.packet import SEPARATOR, Outgoing
from flasknado.socketio.packet import DISCONNECT, EVENT, Packet, Parser


class Message(Outgoing):
    """One packet. May be made on any thread; raises `TypeError` or `ValueError`."""

    __slots__ = ("offset", "packet", "parser")

    def __init__(self, parser: Parser, packet: Packet, offset: int = 0) -> None:
        super().__init__(parser.encode(packet))
        self.offset = offset
        """Its place in the log, if it is durable."""
        self.parser = parser
        self.packet = packet

    def stamped(self, cursor: str) -> Message:
        """Return it with a cursor as its last argument, where clients look for one.

        (socket.io-client, `lib/socket.ts`: the last argument of an event that asks for no
        acknowledgement, if the client has a `pid` and it is a string.)
        """
        packet = self.packet
        data = [*packet.data, cursor]
        return Message(self.parser, packet._replace(data=data), self.offset)

    def asking(self, ack_id: int) -> Message:
        """Return it with a request for an acknowledgement."""
        return Message(self.parser, self.packet._replace(id=ack_id))


class Farewell(Message):
    """The last packet for a client in a namespace."""

    __slots__ = ("reason",)
    joins = False

    def __init__(self, parser: Parser, namespace: str, reason: str) -> None:
        super().__init__(parser, Packet(DISCONNECT, namespace))
        self.reason = reason


class Joined(Outgoing):
    """Several messages, one after the other, for clients that get all of them."""

    __slots__ = ("messages",)

    def __init__(self, messages: Sequence[Outgoing]) -> None:
        super().__init__(())
        self.messages = messages
        self.size_bytes = sum(message.size_bytes for message in messages)

    @property
    def offset(self) -> int:
        """The greatest offset among them."""
        return max(getattr(message, "offset", 0) for message in self.messages)

    @property
    def frames(self) -> bytes:
        if self.frames_once is None:
            self.frames_once = b"".join([message.frames for message in self.messages])
        return self.frames_once

    @property
    def packets(self) -> str:
        if self._packets is None:
            self._packets = SEPARATOR.join([message.packets for message in self.messages])
        return self._packets


def event_message(parser: Parser, namespace: str, event: str, args: Sequence[Any]) -> Message:
    """Return an event."""
    return Message(parser, Packet(EVENT, namespace, [event, *args]))
