"""One Engine.IO client: what waits for it, and the transport that it has at present.

A session is made by the handshake. It begins on long-polling or on WebSocket; a WebSocket that
names the session of a polling client is a candidate until the client has probed it and says
`upgrade`. There is no task, timer or queue for a session at rest.

On the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

from flasknado.native.in_flask import Caller
from flasknado.socketio.engineio import packet
from flasknado.socketio.engineio.options import POLLING, WEBSOCKET, EngineOptions
from flasknado.socketio.engineio.packet import Data, Outgoing, ProtocolError, packet_of
from flasknado.socketio.engineio.reason import Reason

log = logging.getLogger("flasknado.socketio")

HELD_WHEN_FULL_BYTES = 64 * 1024
"""How much may be held of what one client sends while the server is short of memory."""
PACKETS_PER_TURN = 256
"""How many packets of one payload are taken before others have their turn."""
BYTES_PER_TURN = 64 * 1024
"""After how much of it; one packet is taken as a whole."""


class Exchange(Protocol):
    """A request of long-polling that awaits its answer."""

    def answer(self, payload: str) -> None:
        """Answer with packets, or `ok`."""

    def refuse(self, message: str) -> None:
        """Answer 400."""


class Transport(Protocol):
    """The WebSocket of a session, or a candidate for it."""

    probed: bool

    @property
    def backlog_bytes(self) -> int:
        """How many bytes the client has not taken."""

    @property
    def received_bytes(self) -> int:
        """How many bytes of a message have come that is not whole."""

    def write(self, data: bytes) -> None:
        """Write frames without waiting."""

    def read_on(self) -> None:
        """Go on reading."""

    def close(self) -> None:
        """Say goodbye."""

    def abort(self) -> None:
        """Close at once."""


class Upper(Protocol):
    """The protocol above: Socket.IO, or an echo."""

    def opened(self, session: Session) -> None:
        """A client has shaken hands."""

    def received(self, session: Session, data: Data) -> None:
        """A client has sent a message; raises `ProtocolError` to have its session ended."""

    def closed(self, session: Session, reason: str) -> None:
        """A client has gone."""

    def is_over(self, session: Session, age_s: float) -> bool:
        """Return whether a client of this age has nothing to do here, or may not stay."""


class Keeper(Protocol):
    """What a session and its transports need of the engine that has them."""

    options: EngineOptions
    loop: asyncio.AbstractEventLoop
    upper: Upper
    full: bool
    """Whether the server is short of memory for what clients send."""

    def forget(self, session: Session) -> None:
        """Take out a session that has ended."""

    def evict(self, session: Session) -> None:
        """Give up a client for which more waits than may."""

    def broken(self, error: ProtocolError) -> None:
        """Note that a client broke the protocol, whose session ends."""

    def propose(self, session: Session, transport: Any) -> bool:
        """Take a WebSocket as a candidate for a session, if it may have one."""

    def answered(self, session: Session) -> None:
        """Note that a client has answered its ping."""

    def flush_soon(self, session: Session) -> None:
        """Have a poll answered at the end of this turn."""


class Session:
    """One client. `upper` is what the protocol above keeps of it."""

    __slots__ = (
        "_candidate",
        "_poll",
        "_post",
        "_queue",
        "_queue_bytes",
        "_transport",
        "_unread",
        "_unread_at",
        "address",
        "caller",
        "closed",
        "due_at",
        "engine",
        "opened_at",
        "paused",
        "pinged",
        "sid",
        "tick",
        "upper",
    )

    def __init__(self, engine: Keeper, sid: str, caller: Caller, address: str | None) -> None:
        self.engine = engine
        self.sid = sid
        self.caller = caller
        """Who made the handshake."""
        self.address = address
        self.upper: Any = None
        self.closed = False
        self.opened_at = engine.loop.time()
        self.due_at = self.opened_at + engine.options.ping_interval_s
        """When to ping it, or to give it up if it was `pinged`."""
        self.pinged = False
        self.tick = 0
        """When the engine looks at it."""
        self.paused = False
        """Whether as much of what it sent waits as may; then nothing more of it is read."""
        self._transport: Transport | None = None
        self._candidate: Transport | None = None
        self._poll: Exchange | None = None
        self._post: Exchange | None = None
        self._unread: str | None = None
        """The payload of the POST, while not all of its packets have been taken."""
        self._unread_at = 0
        """Where the next of them begins."""
        self._queue: list[Outgoing] | None = None
        self._queue_bytes = 0

    @property
    def transport(self) -> str:
        """`polling` or `websocket`."""
        return POLLING if self._transport is None else WEBSOCKET

    @property
    def backlog_bytes(self) -> int:
        """How much waits for the client."""
        return self._queue_bytes if self._transport is None else self._transport.backlog_bytes

    def open_packet(self, *, upgrades: bool) -> Outgoing:
        """Return the packet that tells the client of its session."""
        return packet.Control(packet.OPEN + self.engine.options.handshake(self.sid, upgrades))

    @property
    def held_bytes(self) -> int:
        """How much is held of what the client has sent."""
        held_bytes: int = getattr(self.upper, "held_bytes", 0)
        for transport in (self._transport, self._candidate):
            if transport is not None:
                held_bytes += transport.received_bytes
        return held_bytes + (len(self._unread) if self._unread is not None else 0)

    @property
    def is_attended(self) -> bool:
        """Whether the client is connected at the moment: it has a WebSocket, or a poll waits."""
        return self._transport is not None or self._poll is not None

    # To the client.

    def send(self, message: Outgoing) -> None:
        """Have a message written without waiting; a client with too much unread is given up."""
        if self.closed:
            return
        transport = self._transport
        if transport is not None:
            transport.write(message.frames_once or message.frames)
            return
        if self._queue is None:
            self._queue = []
        self._queue.append(message)
        self._queue_bytes += message.size_bytes
        if self._queue_bytes > self.engine.options.backlog_limit_bytes:
            self.engine.evict(self)
        elif self._poll is not None:
            self.engine.flush_soon(self)

    def flush(self) -> None:
        """Answer the poll with what waits, if both are there."""
        poll = self._poll
        if poll is not None and self._queue:
            self._poll = None
            poll.answer(self._take_queue())

    def _take_queue(self) -> str:
        queue, self._queue = self._queue or [], None
        self._queue_bytes = 0
        return packet.SEPARATOR.join([message.packets for message in queue])

    def close(self, reason: str, last: Outgoing = packet.CLOSE_PACKET) -> None:
        """End; a poll is answered with what waits and the `last` packet. May be called again."""
        if self.closed:
            return
        self.closed = True
        self.engine.forget(self)
        if self._candidate is not None:
            self._candidate.close()
            self._candidate = None
        if self._transport is not None:
            self._transport.close()
        poll, self._poll = self._poll, None
        if poll is not None:
            self._queue = [*(self._queue or ()), last]
            poll.answer(self._take_queue())
        self._queue = None
        post, self._post, self._unread = self._post, None, None
        if post is not None:
            post.refuse("the session has been closed")
        self.engine.upper.closed(self, reason)

    def evict(self) -> None:
        """End because more waits for the client than may."""
        self.engine.evict(self)

    def abort(self, reason: str) -> None:
        """End without waiting for the client to take what was written."""
        transport = self._transport
        self.close(reason)
        if transport is not None:
            transport.abort()

    # From the client, over either transport.

    def take(self, kind: str, data: Data) -> None:
        """Take a packet; raises `ProtocolError`."""
        if kind == packet.MESSAGE:
            self.engine.upper.received(self, data)
        elif kind == packet.PONG:
            if self.pinged:
                self.engine.answered(self)
        elif kind == packet.CLOSE:
            post, self._post = self._post, None
            if post is not None:
                post.answer("ok")
            self.close(Reason.CLIENT_DISCONNECT, packet.NOOP_PACKET)
        elif kind != packet.NOOP:
            raise ProtocolError("clients do not send packets of this type")

    def resume(self) -> None:
        """Read on: less of what it sent waits now."""
        if not self.paused:
            return
        self.paused = False
        if self._transport is not None:
            self._transport.read_on()
        if self._unread is not None:
            self._take_unread()

    # Long-polling.

    def poll(self, exchange: Exchange) -> None:
        """Answer a GET: now, if something waits, or when something comes."""
        if self._transport is not None:
            exchange.refuse("the session has gone on to WebSocket")
        elif self._poll is not None:
            exchange.refuse("the session has a poll already")
            self.close(Reason.TRANSPORT_ERROR)
        elif self._queue:
            exchange.answer(self._take_queue())
        elif self._candidate is not None and self._candidate.probed:
            # The client ends its polling before it upgrades.
            exchange.answer(packet.NOOP_PACKET.packets)
        else:
            self._poll = exchange

    def lost(self, exchange: Exchange) -> None:
        """Note that a client has gone that awaited an answer."""
        if exchange is self._poll:
            self._poll = None
            self.close(Reason.TRANSPORT_CLOSE)
        elif exchange is self._post:
            self._post = None

    def post(self, exchange: Exchange, payload: str) -> None:
        """Take the packets of a POST, and answer when all are taken."""
        if self._post is not None or self._unread is not None:
            exchange.refuse("the session has a POST under way already")
            self.close(Reason.TRANSPORT_ERROR)
            return
        if self._transport is not None:
            exchange.refuse("the session has gone on to WebSocket")
            return
        self._post = exchange
        self._unread = payload
        self._unread_at = 0
        self._take_unread()

    def _take_unread(self) -> None:
        unread = self._unread
        if unread is None:
            return
        left = PACKETS_PER_TURN
        at = self._unread_at
        turn_ends_at = at + BYTES_PER_TURN
        try:
            while 0 <= at < turn_ends_at and left and not self.paused and not self.closed:
                left -= 1
                # Not split at once: a payload may be of nothing but small packets.
                end = unread.find(packet.SEPARATOR, at)
                text = unread[at:] if end < 0 else unread[at:end]
                at = self._unread_at = end + 1 if end >= 0 else -1
                self.take(*packet_of(text))
        except ProtocolError as error:
            post, self._post = self._post, None
            if post is not None:
                post.refuse(str(error))
            self.engine.broken(error)
            self.close(Reason.TRANSPORT_ERROR)
            return
        except Exception:
            log.exception("a payload of a Socket.IO client failed")
            self.close(Reason.TRANSPORT_ERROR)
            return
        if self.closed:
            return
        if at >= 0:
            if not self.paused:
                self.engine.loop.call_soon(self._take_unread)
        else:
            self._unread = None
            post, self._post = self._post, None
            if post is not None:
                post.answer("ok")

    # WebSocket.

    def begin_on(self, transport: Transport) -> None:
        """Begin on WebSocket."""
        self._transport = transport

    def propose(self, transport: Transport) -> bool:
        """Take a WebSocket as a candidate; returns false if the session has one already."""
        if self.closed or self._transport is not None or self._candidate is not None:
            return False
        self._candidate = transport
        return True

    def probed(self) -> None:
        """Note that the candidate was probed: a poll that waits ends."""
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.answer(packet.NOOP_PACKET.packets)

    def upgrade(self) -> None:
        """Go on over the candidate, with what waits."""
        transport, self._candidate = self._candidate, None
        assert transport is not None
        self._transport = transport
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.answer(packet.NOOP_PACKET.packets)
        queue, self._queue = self._queue, None
        self._queue_bytes = 0
        for message in queue or ():
            transport.write(message.frames)

    def disconnected(self, transport: Transport, reason: str) -> None:
        """Note that a WebSocket has gone; only that of the session ends it."""
        if transport is self._candidate:
            self._candidate = None
        elif transport is self._transport:
            self.close(reason)
