"""An ordinary request on a connection: its body gathered, a container's reply written.

The response is encoded on the thread that makes it, so that for one that is whole the loop
does a single write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from flasknado.errors import ClientDisconnected, RequestError
from flasknado.http.body import BodyBuffer
from flasknado.http.body_limits import body_too_large
from flasknado.http.counters import ORDINARY
from flasknado.http.encode import (
    CHUNKED,
    CLOSE,
    CONTINUE,
    KEEP_ALIVE_1_0,
    KEEP_ALIVE_1_1,
    LAST_CHUNK,
    encode_head,
    frame_chunk,
)
from flasknado.http.exchange import Exchange
from flasknado.http.mailbox import Delivery
from flasknado.http.message import RequestHead, ResponseHead
from flasknado.http.reply import (
    BeginOnLoop,
    Container,
    LeftConnection,
    Room,
    TakeConnection,
    WatchedRoom,
)
from flasknado.wsgi.file_wrapper import PartOfFile
from flasknado.wsgi.sendfile import OutgoingFile
from flasknado.wsgi.taken import TakenConnection

if TYPE_CHECKING:
    from flasknado.http.connection import Connection

ONE_BUFFER_BYTES: Final = 64 * 1024
"""Bodies up to this size are joined with their head."""

TAKE_TIMEOUT_S: Final = 30.0
"""How long the loop may take to leave a connection to a thread."""


class OrdinaryExchange(Exchange, Delivery):
    """One request for a container, and the `Reply` to it.

    Raises `RequestError` (413) if the body is announced to be larger than accepted.
    """

    __slots__ = (
        "_body",
        "_chunked",
        "_connection",
        "_container",
        "_data",
        "_file",
        "_keep_alive",
        "_live",
        "_mailbox",
        "_response",
        "_rest",
        "_room",
        "_streaming",
        "_untaken_bytes",
        "gone",
    )

    def __init__(self, connection: Connection, head: RequestHead, container: Container) -> None:
        has_body = bool(head.content_length or head.chunked)
        limit_bytes = container.max_body_bytes_for(head) if has_body else 0
        if head.content_length is not None and head.content_length > limit_bytes:
            raise body_too_large(limit_bytes, head.content_length)
        super().__init__(head, ORDINARY, False, limit_bytes)
        self._connection = connection
        self._container = container
        self._mailbox = connection.shared.mailbox
        self._body: BodyBuffer | None = None
        if has_body:
            self._body = BodyBuffer(limit_bytes, self._mailbox, self._disk_progress)
        self.gone = False
        """True once the client has disconnected. May be read on any thread."""
        self._room: Room | None = None
        self._chunked = False
        self._data = b""
        self._response: ResponseHead | None = None
        self._rest = b""
        self._keep_alive = head.keep_alive
        self._live = False
        """True once the response is a stream of events, which ends when its client leaves."""
        self._file: OutgoingFile | None = None
        self._streaming = False
        self._untaken_bytes = 0

    # The request, on the loop's thread.

    def begin(self) -> None:
        if self.complete:
            self._disk_progress()
        elif self.head.expect_continue and not self.received_bytes:
            self._connection.transport.write(CONTINUE)

    def receive(self, data: bytes) -> None:
        assert self._body is not None
        self._body.append(data)
        self.received_bytes += len(data)
        self._count_memory()

    def end(self) -> None:
        self.complete = True
        if self._connection.active is self:
            if self._body is None:
                self._hand_over()
            else:
                self._disk_progress()

    def _disk_progress(self) -> None:
        """Go on as far as what has come is in memory or on disk."""
        body = self._body
        if body is None:
            if self.complete:
                self._hand_over()
            return
        self._count_memory()
        connection = self._connection
        try:
            written = body.written
        except RequestError as error:
            # Behind another request it is refused when its turn comes, or more of it does.
            if connection.active is self:
                connection.refuse_exchange(self, error)
            return
        if self.complete:
            if written and connection.active is self:
                self._hand_over()
        elif not body.behind:
            connection.unstuffed()

    def _count_memory(self) -> None:
        body = self._body
        held_bytes = body.held_bytes if body is not None else 0
        if held_bytes != self.held_bytes:
            change_bytes = held_bytes - self.held_bytes
            self.held_bytes = held_bytes
            self._connection.shared.budget.hold(change_bytes)

    def _hand_over(self) -> None:
        body = self._body
        self._body = None
        self._container.handle(self.head, body.complete() if body is not None else None, self)

    def stuffed(self) -> bool:
        return self._body is not None and self._body.behind

    def needs_client(self) -> bool:
        return self._live

    def holds_thread(self) -> bool:
        return self._streaming and self._untaken_bytes > 0

    def sends_file(self) -> bool:
        return self._file is not None and self._file.past_transport

    def drop(self) -> bool:
        self._discard_body()
        return True

    def lost(self) -> None:
        self._discard_body()
        self.gone = True
        if self._room is not None:
            self._room.close()
        if self._file is not None:
            self._file.cancel()

    def _discard_body(self) -> None:
        if self._body is not None:
            self._body.discard()
            self._body = None

    # The reply: the public methods on a pool's thread, the others on the loop's.

    @property
    def begun(self) -> bool:
        return self._room is not None

    @property
    def stalled(self) -> bool:
        return self._room is not None and self._room.full

    @property
    def leaves_http(self) -> bool:
        return True

    @property
    def addresses(self) -> tuple[Any, Any]:
        info = self._connection.transport.get_extra_info
        return info("sockname"), info("peername")

    def send(self, head: ResponseHead, body: bytes) -> None:
        framing = self._connection_field()
        if head.content_length is None and head.has_body:
            framing += b"Content-Length: %i\r\n" % len(body)
        if len(body) <= ONE_BUFFER_BYTES:
            self._data = encode_head(head, framing, body)
        else:
            self._data = encode_head(head, framing)
            self._rest = body
        self._response = head
        self._mailbox.post_delivery(self)

    def start(self, head: ResponseHead) -> None:
        self._room = Room()
        self._live = head.is_event_stream
        framing = self._stream_framing(head)
        self._mailbox.post(self._start_encoded, head.status, encode_head(head, framing))

    def write(self, chunk: bytes) -> None:
        room = self._room
        if room is None:
            raise RuntimeError("write() was called before start(): start the response first")
        room.enter(len(chunk))
        self._mailbox.post(self._write_chunk, room, chunk)

    def hand_over(self, head: ResponseHead, take: TakeConnection) -> None:
        self._mailbox.post(self._leave, head, take)

    def take_socket(self) -> LeftConnection:
        taken: Future[TakenConnection] = Future()
        self._mailbox.post(self._leave_socket, taken)
        return taken.result(TAKE_TIMEOUT_S)

    def finish(self) -> None:
        self._mailbox.post(self._end_response)

    def abort(self) -> None:
        self._mailbox.post(self._cut_off)

    def leave_file(self, file_fd: int, offset: int, size_bytes: int) -> None:
        self._mailbox.post(self._begin_file, file_fd, offset, size_bytes)

    def leave_to_loop(self, begin: BeginOnLoop) -> bool:
        self._mailbox.post(begin, self)
        return True

    # What the loop writes by itself (`flasknado.http.reply.LoopReply`).

    def watch(self, on_gone: Callable[[], None]) -> None:
        self._room = WatchedRoom(on_gone)
        self._live = True
        self._connection.live_begun()

    def begin_body(self, head: ResponseHead) -> None:
        self._start_encoded(head.status, encode_head(head, self._stream_framing(head)))

    def push(self, chunk: bytes) -> asyncio.Future[None] | None:
        if self.gone:
            return None
        connection = self._connection
        data = frame_chunk(chunk) if self._chunked else chunk
        self.sent_bytes += len(data)
        connection.transport.write(data)
        return connection.drained() if connection.write_paused else None

    def end_body(self) -> None:
        self._end_response()

    def cut_off(self) -> None:
        self._cut_off()

    def end_early(self) -> bool:
        if self.gone:
            return True
        if not self._streaming:
            return False
        self._keep_alive = False
        self._end_response()
        self.gone = True
        if self._room is not None:
            self._room.close()
        return True

    # A file.

    def _begin_file(self, file_fd: int, offset: int, size_bytes: int) -> None:
        part = PartOfFile(file_fd, offset, size_bytes)
        self._file = OutgoingFile(self._connection, part, self._file_sent, self._file_ended)
        if self.gone:
            self._file.cancel()
        else:
            self._file.begin()

    def _file_sent(self, size_bytes: int) -> None:
        self.sent_bytes += size_bytes

    def _file_ended(self, whole: bool) -> None:
        """Go on after the file, or cut the response off if there was less than was promised."""
        self._file = None
        if self.gone:
            return
        if whole:
            self._connection.finished(self, self._keep_alive)
        else:
            self._connection.abort()

    def _stream_framing(self, head: ResponseHead) -> bytes:
        """Return the fields that say how the body of a stream ends."""
        framing = b""
        if head.has_body and head.content_length is None:
            if self.head.version == "1.1":
                self._chunked = True
                framing = CHUNKED
            else:
                # Only the end of the connection can end this body (RFC 9112, section 6.3).
                self._keep_alive = False
        return framing + self._connection_field()

    def _connection_field(self) -> bytes:
        if not (self._keep_alive and self._connection.shared.keep_alive):
            self._keep_alive = False
            return CLOSE
        return KEEP_ALIVE_1_1 if self.head.version == "1.1" else KEEP_ALIVE_1_0

    def deliver(self) -> None:
        """Write the whole response; on the loop's thread."""
        response = self._response
        if self.gone or response is None:
            return
        self.status = response.status
        self.sent_bytes = len(self._data) + len(self._rest)
        transport = self._connection.transport
        transport.write(self._data)
        if self._rest:
            transport.write(self._rest)
        self._connection.finished(self, self._keep_alive)

    def _start_encoded(self, status: int, data: bytes) -> None:
        if self.gone:
            return
        self._streaming = True
        self.status = status
        self.sent_bytes = len(data)
        self._connection.transport.write(data)
        if self._live:
            self._connection.live_begun()

    def _write_chunk(self, room: Room, chunk: bytes) -> None:
        if self.gone:
            return
        data = frame_chunk(chunk) if self._chunked else chunk
        self.sent_bytes += len(data)
        self._connection.transport.write(data)
        if self._connection.write_paused:
            self._untaken_bytes += len(chunk)
        else:
            room.leave(len(chunk))

    def drained(self) -> None:
        if self._file is not None:
            self._file.drained()
        if self._untaken_bytes and self._room is not None:
            size_bytes, self._untaken_bytes = self._untaken_bytes, 0
            self._room.leave(size_bytes)

    def _leave(self, head: ResponseHead, take: TakeConnection) -> None:
        if self.gone:
            return
        chunked = self.head.version == "1.1"
        data = encode_head(head, (CHUNKED if chunked else b"") + CLOSE)
        self.status = head.status
        self.sent_bytes = len(data)
        connection = self._connection
        connection.transport.write(data)
        connection.live_begun()
        if not connection.transport.is_closing():
            take(connection.leave(), chunked)

    def _leave_socket(self, taken: Future[TakenConnection]) -> None:
        connection = self._connection
        if self.gone or connection.active is not self:
            taken.set_exception(ClientDisconnected("the client closed the connection"))
            return
        stream = TakenConnection(connection, taken)
        connection.leave(stream)
        stream.begin()

    def _end_response(self) -> None:
        if self.gone:
            return
        if self._chunked:
            self.sent_bytes += len(LAST_CHUNK)
            self._connection.transport.write(LAST_CHUNK)
        self._connection.finished(self, self._keep_alive)

    def _cut_off(self) -> None:
        if not self.gone:
            self._connection.abort()
