"""A connection that has left HTTP, with the interface of `tornado.iostream.IOStream`.

`RequestHandler.detach()` returns one, so `WebSocketHandler` and other code written for
Tornado's streams runs on a transport. Belongs to the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from tornado.ioloop import IOLoop
from tornado.iostream import StreamBufferFullError, StreamClosedError, UnsatisfiableReadError

from flasknado.http.flow import Flow
from flasknado.websocket.codec import WebSocketError, close_frame
from flasknado.websocket.watch import FrameWatch

if TYPE_CHECKING:
    from flasknado.http.ending import Ending
    from flasknado.http.shared import Shared

log = logging.getLogger("flasknado.http")

READ_AHEAD_BYTES = 64 * 1024
"""How much is read before somebody asks for it."""

MAX_BUFFER_BYTES = 100 * 1024 * 1024
"""How much one read may gather (Tornado's default)."""

WORK_PER_TURN = 64
"""How many reads and writes are done at once; the next is done on the loop's next turn."""

BYTES_PER_WORK = 8 * 1024
"""How many bytes count as one more of them."""

CUT_OFF_TIMEOUT_S = 2.0
CUT_OFF_BYTES = 1024 * 1024
"""How long, and how much of it, the bytes of a client that was cut off are dropped, so that it
can read why."""

_NOTHING: Final = bytearray()
"""The buffer of those who need none."""

_Find = Callable[[bytearray, bool], int | None]


class TransportStream(Flow):
    """`IOStream` over an asyncio transport; one reader at a time, as there.

    As there, a read of what has come and a write that the client has room for are done at
    once. But after `WORK_PER_TURN` of them the next ones are done on the loop's next turn, so
    that a client of tiny frames, or an endless response, leaves others theirs. A write that
    has to wait is done when the transport's buffer is below its low-water mark, and fails with
    `StreamClosedError` when the connection closes. After the close, what had arrived can still
    be read. `passive` gives a view that does not read.
    """

    # Thousands are held open, and each is looked at for every event.
    __slots__ = (
        "_buffer",
        "_close_callback",
        "_closed",
        "_consume",
        "_drop_bytes",
        "_find",
        "_into",
        "_lost",
        "_reader",
        "_work",
        "error",
        "max_buffer_size",
        "max_write_buffer_size",
        "sent_bytes",
        "watch",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        shared: Shared,
        *,
        write_paused: bool = False,
        passive: bool = False,
    ) -> None:
        super().__init__(shared)
        self.transport = transport
        self.write_paused = write_paused
        self._buffer = bytearray()
        self._find: _Find | None = None
        self._into: memoryview | None = None
        self._reader: asyncio.Future[Any] | None = None
        self._closed = passive and transport.is_closing()
        self._drop_bytes = 0
        """How much of what comes from a client that was cut off is still dropped."""
        self._work = 0
        """What was done since the last turn that began with nothing done."""
        self._lost = False
        self._close_callback: Callable[[], None] | None = None
        self.sent_bytes = 0
        self.watch: FrameWatch | None = None
        """Looks at the frames of a WebSocket that is read by code which does not count them."""
        self.error: BaseException | None = None
        """Why the connection closed, if by an error."""
        self.max_buffer_size = MAX_BUFFER_BYTES
        self.max_write_buffer_size: int | None = None
        self._consume: Callable[[bytes], None] | None = None

    @property
    def io_loop(self) -> IOLoop:
        """Tornado's loop of the connection."""
        return IOLoop.current()

    @classmethod
    def over(cls, connection: Ending) -> TransportStream:
        """Return the stream that takes over a connection which leaves HTTP."""
        return cls(connection.transport, connection.shared, write_paused=connection.write_paused)

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Never called: the transport has been open for long."""

    def data_received(self, data: bytes) -> None:
        if self._drop_bytes:
            self._drop_bytes = max(self._drop_bytes - len(data), 0)
            if not self._drop_bytes:
                self.transport.abort()
            return
        if self._consume is not None:
            self._consume(data)
            return
        self._buffer += data
        if len(self._buffer) > self.max_buffer_size:
            self.close((StreamBufferFullError, StreamBufferFullError("read buffer full"), None))
            return
        if self._work < WORK_PER_TURN:
            self._try_read()
        self._regulate()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            counters = self.shared.counters
            counters.connections_open -= 1
            counters.connections_upgraded -= 1
            if self.on_lost is not None:
                self.on_lost(self.sent_bytes)
        self.error = self.error or exc
        self._finish_close()

    # Reading.

    def consume(self, take: Callable[[bytes], None]) -> None:
        """Have `take(data)` called with all that comes, instead of reading it.

        It takes turns with others by itself: `pause()` has nothing more come until `resume()`.
        """
        self._consume = take
        buffer, self._buffer = self._buffer, _NOTHING
        if buffer:
            take(bytes(buffer))

    def pause(self) -> None:
        """Have nothing more come."""
        if not self._closed:
            self._pause_reading()

    def resume(self) -> None:
        """Have what comes be given on."""
        self._resume_reading()

    def read_bytes(self, num_bytes: int, partial: bool = False) -> asyncio.Future[bytes]:
        """Read `num_bytes` bytes, or with `partial` as many as there are, at least one."""

        def find(buffer: bytearray, closed: bool) -> int | None:  # noqa: ARG001
            if len(buffer) >= num_bytes:
                return num_bytes
            return len(buffer) if partial and buffer else None

        return self._read(find)

    def read_until(self, delimiter: bytes, max_bytes: int | None = None) -> asyncio.Future[bytes]:
        """Read up to and with `delimiter`; closes if it does not come in `max_bytes`."""

        def find(buffer: bytearray, closed: bool) -> int | None:  # noqa: ARG001
            found = buffer.find(delimiter)
            end = found + len(delimiter) if found >= 0 else None
            return _within(buffer, end, max_bytes, f"delimiter {delimiter!r}")

        return self._read(find)

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> asyncio.Future[bytes]:
        """Read up to the end of the first match of `regex`; closes as `read_until` does."""
        pattern = re.compile(regex)

        def find(buffer: bytearray, closed: bool) -> int | None:  # noqa: ARG001
            match = pattern.search(buffer)
            end = match.end() if match is not None else None
            return _within(buffer, end, max_bytes, f"match of {regex!r}")

        return self._read(find)

    def read_into(self, buf: bytearray, partial: bool = False) -> asyncio.Future[int]:
        """Fill `buf`, or with `partial` read what there is; the result is the count of bytes."""
        self._into = memoryview(buf)
        return self.read_bytes(len(buf), partial=partial)  # type: ignore[return-value]

    def read_until_close(self) -> asyncio.Future[bytes]:
        """Read all that comes until the connection closes."""

        def find(buffer: bytearray, closed: bool) -> int | None:
            return len(buffer) if closed else None

        return self._read(find, ends_at_close=True)

    def _read(self, find: _Find, ends_at_close: bool = False) -> asyncio.Future[Any]:
        if self._reader is not None:
            raise AssertionError("Already reading")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._reader, self._find = future, find
        if self._closed or not self._spend(1):
            self._try_read()
        if not future.done() and self._closed and not ends_at_close:
            self._end_read(StreamClosedError(real_error=self.error))
        self._regulate()
        return future

    def _try_read(self) -> None:
        if self._reader is None or self._find is None:
            return
        try:
            size_bytes = self._find(self._buffer, self._closed)
        except UnsatisfiableReadError as error:
            log.info("a stream was closed: %s", error)
            self.close((UnsatisfiableReadError, error, None))
            return
        if size_bytes is None:
            return
        data = bytes(memoryview(self._buffer)[:size_bytes])
        del self._buffer[:size_bytes]
        result: bytes | int = data
        if self._into is not None:
            self._into[:size_bytes] = data
            result = size_bytes
        if self.watch is not None:
            try:
                self.watch.received(data)
            except WebSocketError as error:
                self._cut_off(error)
                return
        future = self._reader
        self._reader = self._find = self._into = None
        if not future.done():
            future.set_result(result)

    def _spend(self, work: int) -> bool:
        """Count what is done; returns whether it has to wait for the loop's next turn."""
        before = self._work
        self._work += work
        if self._work < WORK_PER_TURN:
            return False
        if before < WORK_PER_TURN:
            self.shared.soon().add_done_callback(self._begin_turn)
        return True

    def _begin_turn(self, _: asyncio.Future[None]) -> None:
        self._work = 0
        if self._reader is not None:
            self._try_read()
            self._regulate()

    def _cut_off(self, error: WebSocketError) -> None:
        """Close with a closing frame; for the reader the connection has gone at once."""
        log.info("a WebSocket client was disconnected: %s", error)
        self.error = error
        self._buffer.clear()
        self.transport.write(close_frame(error.code, str(error)))
        self.write_eof()
        self._drop_bytes = CUT_OFF_BYTES
        self._resume_reading()
        self.shared.loop.call_later(CUT_OFF_TIMEOUT_S, self.transport.abort)
        self._finish_close()

    def _end_read(self, error: Exception) -> None:
        future = self._reader
        self._reader = self._find = self._into = None
        if future is not None and not future.done():
            future.set_exception(error)
            future.exception()  # nobody has to look

    def _regulate(self) -> None:
        """Stop reading while enough waits and nobody reads, or may not yet."""
        reads = self._reader is not None and self._work < WORK_PER_TURN
        wants = reads or len(self._buffer) < READ_AHEAD_BYTES
        if self._closed:
            return
        if wants:
            self._resume_reading()
        else:
            self._pause_reading()

    # Writing and closing.

    def write(self, data: bytes | memoryview) -> asyncio.Future[None]:
        """Write; raises `StreamClosedError` after the close and `StreamBufferFullError` above
        `max_write_buffer_size`.
        """
        written = self.push(data)
        if written is not None:
            return written
        if self._spend(1 + len(data) // BYTES_PER_WORK):
            return self.shared.soon()
        written = self.shared.loop.create_future()
        written.set_result(None)
        return written

    def push(self, data: bytes | memoryview) -> asyncio.Future[None] | None:
        """Write as `write()` does; returns `None` at once if the client keeps up.

        For those who write to thousands of clients and take turns with others by themselves.
        """
        if self._closed or self.transport.is_closing():
            raise StreamClosedError(real_error=self.error)
        if (
            self.max_write_buffer_size is not None
            and self.transport.get_write_buffer_size() + len(data) > self.max_write_buffer_size
        ):
            raise StreamBufferFullError("Reached maximum write buffer size")
        self.transport.write(data)
        self.sent_bytes += len(data)
        if self.watch is not None:
            self.watch.sent(data)
        if not self.write_paused:
            return None
        return self._wait_for_room()

    def write_eof(self) -> None:
        """Send a FIN after what was written, where the transport can; reading goes on."""
        if not self.transport.is_closing() and self.transport.can_write_eof():
            self.transport.write_eof()

    def close(self, exc_info: Any = False) -> None:
        """Close once what was written has been sent; with `exc_info` at once and as an error."""
        if self._closed:
            return
        if exc_info:
            if isinstance(exc_info, tuple):
                self.error = exc_info[1]
            elif isinstance(exc_info, BaseException):
                self.error = exc_info
            self.transport.abort()
        else:
            self.transport.close()
        self._finish_close()

    def _finish_close(self) -> None:
        if self._closed and self._reader is None and self._close_callback is None:
            self._end_flow(self.error)
            return
        self._closed = True
        self._try_read()
        if self._reader is not None:
            self._end_read(StreamClosedError(real_error=self.error))
        self._end_flow(self.error)
        callback, self._close_callback = self._close_callback, None
        if callback is not None:
            self.io_loop.add_callback(callback)

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Have `callback()` called when the connection closes, or soon if it has."""
        self._close_callback = callback
        if callback is not None and self._closed:
            self._close_callback = None
            self.io_loop.add_callback(callback)

    def closed(self) -> bool:
        """Return whether the connection has closed."""
        return self._closed

    def reading(self) -> bool:
        """Return whether a read waits."""
        return self._reader is not None

    def writing(self) -> bool:
        """Return whether written bytes wait for the client."""
        return self.transport.get_write_buffer_size() > 0

    @property
    def taken_bytes(self) -> int:
        """How many bytes of what was written the system has taken."""
        return self.sent_bytes - self.transport.get_write_buffer_size()

    def set_nodelay(self, value: bool) -> None:
        """Have small writes sent at once (TCP_NODELAY), or gathered."""
        sock = self.socket
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1 if value else 0)
            except OSError as error:
                log.debug("TCP_NODELAY could not be set: %s", error)

    @property
    def socket(self) -> Any:
        """The socket, for its options and addresses; under TLS with `getpeercert()`."""
        tls = self.transport.get_extra_info("ssl_object")
        sock = self.transport.get_extra_info("socket")
        return _TLSSocket(sock, tls) if tls is not None else sock

    def fileno(self) -> int:
        """Return the file descriptor of the socket."""
        return int(self.socket.fileno())


class _TLSSocket:
    """A socket that also answers for its TLS session, as `ssl.SSLSocket` does."""

    def __init__(self, sock: Any, tls: Any) -> None:
        self._sock = sock
        self._tls = tls

    def __getattr__(self, name: str) -> Any:
        owner = self._sock if hasattr(self._sock, name) else self._tls
        return getattr(owner, name)


def _within(buffer: bytearray, end: int | None, max_bytes: int | None, what: str) -> int | None:
    """Return `end`, or raise if it is, or must be, beyond `max_bytes`."""
    if max_bytes is not None and (len(buffer) if end is None else end) > max_bytes:
        raise UnsatisfiableReadError(f"{what} not found within {max_bytes} bytes")
    return end
