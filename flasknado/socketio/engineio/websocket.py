"""The WebSocket of an Engine.IO session, or a candidate for it. On the loop's thread.

What is written while the client does not keep up waits here, and goes out as one write when it
does again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from tornado.iostream import IOStream, StreamClosedError

from flasknado.native.iostream import TransportStream
from flasknado.native.websocket_closing import shut_down_writing
from flasknado.socketio.engineio import packet
from flasknado.socketio.engineio.packet import ProtocolError, packet_of
from flasknado.socketio.engineio.reason import Reason
from flasknado.socketio.engineio.session import HELD_WHEN_FULL_BYTES, Keeper, Session
from flasknado.websocket import codec
from flasknado.websocket.codec import Message, Receiver, WebSocketError

log = logging.getLogger("flasknado.socketio")

READ_BYTES = 64 * 1024
MESSAGES_PER_TURN = 64
"""How many messages of one client are taken before others have their turn."""
GOODBYE_TIMEOUT_S = 5.0
"""How long a client that is sent away may take to read what was written, and to close."""
SHORT_OF_MEMORY = "the server is short of memory: try again shortly"
SKIPPED_BYTES = 256 * 1024
"""How much more a client may send that is being closed; with more it is cut off at once."""


class WebSocketTransport:
    """Reads and writes the packets of one client."""

    __slots__ = (
        "_backlog_bytes",
        "_ending",
        "_engine",
        "_pushed",
        "_reading",
        "_receiver",
        "_session",
        "_skipped_bytes",
        "_stream",
        "_upgrading",
        "_waiting",
        "probed",
    )

    def __init__(
        self,
        engine: Keeper,
        session: Session,
        stream: IOStream | TransportStream,
        *,
        upgrading: bool,
    ) -> None:
        self._engine = engine
        self._session = session
        self._stream = stream
        self._receiver = Receiver(engine.options.max_payload_bytes)
        self._upgrading = upgrading
        """Whether it is a candidate for a session on long-polling."""
        self.probed = False
        self._waiting: list[bytes] | None = None
        self._backlog_bytes = 0
        self._pushed: TransportStream | None = None
        """The stream, if it gives what comes by itself."""
        self._reading = False
        """Whether a read is under way, or a turn."""
        self._ending = False
        self._skipped_bytes = 0

    @property
    def backlog_bytes(self) -> int:
        """How many bytes the client has not taken."""
        return self._backlog_bytes

    @property
    def received_bytes(self) -> int:
        """How many bytes of a message have come that is not whole."""
        return self._receiver.held_bytes

    # Writing.

    def write(self, data: bytes) -> None:
        """Write frames without waiting; gives up a client that has too many unread."""
        if self._waiting is None:
            pushed = self._pushed
            if pushed is None:
                self._write_now(data)
                return
            # Thousands of times for each event: without a further call.
            try:
                written = pushed.push(data)
            except StreamClosedError:
                self._gone()
                return
            if written is not None:
                self._await(written, data)
            return
        self._backlog_bytes += len(data)
        if self._backlog_bytes > self._engine.options.backlog_limit_bytes and not self._ending:
            self._engine.evict(self._session)
            return
        self._waiting.append(data)

    def _write_now(self, data: bytes) -> None:
        stream: Any = self._stream
        written: asyncio.Future[None] | None
        try:
            # Tornado's own stream makes a future for each write.
            written = (stream.push if type(stream) is TransportStream else stream.write)(data)
        except StreamClosedError:
            self._gone()
            return
        if written is not None:
            self._await(written, data)

    def _await(self, written: asyncio.Future[None], data: bytes) -> None:
        if written.done():
            if written.exception() is not None:
                self._gone()
        else:
            self._backlog_bytes = len(data)
            self._waiting = []
            written.add_done_callback(self._on_written)

    def _on_written(self, written: asyncio.Future[None]) -> None:
        waiting, self._waiting = self._waiting, None
        if written.cancelled() or written.exception() is not None:
            self._gone()
            return
        self._backlog_bytes = 0
        if waiting:
            self._write_now(b"".join(waiting))

    def close(
        self, code: int = codec.CLOSE_NORMAL, reason: str = "", why: str = Reason.TRANSPORT_CLOSE
    ) -> None:
        """Say goodbye; `why` is for the application. May be called again."""
        if self._ending:
            return
        self._ending = True
        self._session.disconnected(self, why)
        self.write(codec.close_frame(code, reason))
        # Not closed at once: over unread bytes that would reset what the client has to read.
        self._engine.loop.call_later(GOODBYE_TIMEOUT_S, self.abort)
        self.read_on()

    def abort(self) -> None:
        """Close at once."""
        self._ending = True
        error = StreamClosedError()
        self._stream.close((StreamClosedError, error, None))

    def _gone(self) -> None:
        self._ending = True
        self._session.disconnected(self, Reason.TRANSPORT_CLOSE)

    # Reading.

    def open(self) -> None:
        """Begin as the session's transport, or as a candidate for it; closes if it has one."""
        if not self._upgrading:
            self._session.begin_on(self)
        elif not self._engine.propose(self._session, self):
            self.close()
            return
        self.start()

    def start(self) -> None:
        """Begin to read."""
        stream: Any = self._stream
        stream.set_close_callback(self._gone)
        if type(stream) is TransportStream:
            self._pushed = stream
            stream.consume(self._on_bytes)
        else:
            self.read_on()

    def read_on(self) -> None:
        """Go on reading, unless that is under way or as much waits as may."""
        pushed = self._pushed
        if self._reading or self._stream.closed():
            return
        if self._session.paused and not self._ending:
            if pushed is not None:
                pushed.pause()
            return
        if self._receiver.waiting:
            if pushed is not None:
                pushed.pause()
            self._reading = True
            self._engine.loop.call_soon(self._take)
            return
        if pushed is not None:
            pushed.resume()
            return
        self._reading = True
        try:
            data = asyncio.ensure_future(self._stream.read_bytes(READ_BYTES, partial=True))
        except StreamClosedError:
            self._gone()
            return
        data.add_done_callback(self._on_data)

    def _on_data(self, data: asyncio.Future[bytes]) -> None:
        if data.cancelled() or data.exception() is not None:
            self._gone()
            return
        self._on_bytes(data.result())

    def _on_bytes(self, data: bytes) -> None:
        if self._ending:
            self._skipped_bytes += len(data)
            if self._skipped_bytes > SKIPPED_BYTES:
                self.abort()
                return
        self._reading = True
        self._take(data)

    def _take(self, data: bytes = b"") -> None:
        """Take what the client has sent, as far as its turn goes, and read on."""
        session = self._session
        try:
            text = self._receiver.whole_text(data)
            if text is not None:
                self._on_message(Message(codec.TEXT, text))
            else:
                for message in self._receiver.receive(data, MESSAGES_PER_TURN):
                    self._on_message(message)
                    if session.paused and not self._ending:
                        break
        except WebSocketError as error:
            self.close(error.code, str(error), Reason.TRANSPORT_ERROR)
            shut_down_writing(self._stream)
        except ProtocolError as error:
            if not self._upgrading:
                self._engine.broken(error)
            self.close(codec.CLOSE_POLICY, str(error), Reason.TRANSPORT_ERROR)
        except Exception:
            log.exception("a message of a Socket.IO client failed")
            self.close(codec.CLOSE_INTERNAL_ERROR, why=Reason.TRANSPORT_ERROR)
        self._reading = False
        if self._engine.full and session.held_bytes > HELD_WHEN_FULL_BYTES:
            self.close(codec.CLOSE_TRY_LATER, SHORT_OF_MEMORY, Reason.TRANSPORT_ERROR)
        self.read_on()

    def _on_message(self, message: Message) -> None:
        if message.opcode == codec.CLOSE:
            self.close(message.close_code or codec.CLOSE_NORMAL)
            self._stream.close()
        elif self._ending or message.opcode == codec.PONG:
            pass
        elif message.opcode == codec.PING:
            self.write(codec.frame(codec.PONG, message.payload))
        elif self._upgrading:
            self._probe(message)
        elif message.opcode == codec.BINARY:
            self._session.take(packet.MESSAGE, message.payload)
        else:
            self._session.take(*_text_packet(message))

    def _probe(self, message: Message) -> None:
        """Take a message of a candidate: `2probe`, then `5` (protocol, section "Upgrade")."""
        if message.opcode == codec.TEXT:
            if message.payload == b"2probe" and not self.probed:
                self.probed = True
                self.write(packet.PROBE_ANSWER.frames)
                self._session.probed()
                return
            if message.payload == b"5" and self.probed:
                self._upgrading = False
                self._session.upgrade()
                return
        raise ProtocolError("a WebSocket that is to take over is probed, and then upgraded")

    def expire(self) -> None:
        """Close a candidate that was not upgraded in time."""
        if self._upgrading:
            self.close(codec.CLOSE_POLICY, "the upgrade took too long")


def _text_packet(message: Message) -> tuple[str, packet.Data]:
    text = message.payload.decode()
    if text[:1] == packet.BINARY:
        raise ProtocolError("binary data is not text on WebSocket")
    return packet_of(text)
