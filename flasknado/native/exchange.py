"""A native request on a connection, as Tornado's handlers see one: `httputil.HTTPConnection`.

Handlers, `stream_request_body`, `WebSocketHandler` and third-party code find here what they
find in `tornado.http1connection.HTTP1Connection`. Everything belongs to the loop's thread.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, cast

from tornado import httputil
from tornado.escape import native_str
from tornado.gen import convert_yielded
from tornado.http1connection import HTTP1ConnectionParameters, parse_int
from tornado.iostream import StreamClosedError

from flasknado.errors import RequestError
from flasknado.http.body_limits import body_too_large
from flasknado.http.counters import NATIVE
from flasknado.http.encode import CONTINUE, LAST_CHUNK, frame_chunk
from flasknado.http.exchange import Exchange
from flasknado.http.head import KNOWN_NAME_BYTES
from flasknado.http.message import RequestHead
from flasknado.http.request_id import REQUEST_ID_FIELD, current_request_id
from flasknado.native.iostream import TransportStream
from flasknado.native.methods import METHOD_NOT_ALLOWED, name_methods
from flasknado.native.tornado_private import (
    GzipMessageDelegate,
    HTTPRequestContext,
    header_lists,
)
from flasknado.websocket.watch import FrameWatch

if TYPE_CHECKING:
    from flasknado.http.connection import Connection

app_log: Final = logging.getLogger("tornado.application")

STUFFED_BYTES: Final = 64 * 1024
"""How much of a body may wait for a handler before reading stops."""

_REQUEST_ID_NAME: Final = REQUEST_ID_FIELD.title()
_NORMAL_NAMES_LIMIT: Final = 1024
_normal_names: Final[dict[bytes, str]] = {}
"""Field names in the case that Tornado gives them."""

StartRequest = Callable[[object, httputil.HTTPConnection], httputil.HTTPMessageDelegate]


_NOBODY: Final[set[str]] = set()


class NativeContext(HTTPRequestContext):
    """What Tornado calls the context of a connection: the client's address and the scheme."""

    def __init__(
        self,
        address: Any,
        address_family: socket.AddressFamily,
        remote_ip: str,
        protocol: str,
        trusted_downstream: Iterable[str],
    ) -> None:
        self.address = self._peer = address  # text on a Unix socket, whatever Tornado's types say
        self.address_family = address_family
        self.remote_ip = self._orig_remote_ip = remote_ip
        self.protocol = self._orig_protocol = protocol
        self.trusted_downstream = set(trusted_downstream) or _NOBODY

    def forwarding(self, remote_ip: str, protocol: str) -> NativeContext:
        """Return a context for one request of a client that a trusted proxy forwards for."""
        return NativeContext(
            self._peer, self.address_family, remote_ip, protocol, self.trusted_downstream
        )


def context_of(
    connection: Connection, protocol: str | None, trusted_downstream: list[str] | None
) -> NativeContext:
    """Return the context of a connection; `protocol` is the scheme to claim, if any."""
    address = connection.transport.get_extra_info("peername")
    internet = isinstance(address, tuple)
    if internet:
        # Without asking for the socket, for which uvloop makes an object that stays.
        family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET
    else:
        sock = connection.transport.get_extra_info("socket")
        family = sock.family if sock is not None else socket.AF_UNSPEC
    return NativeContext(
        address,
        family,
        str(address[0]) if internet and address else "0.0.0.0",
        protocol or ("https" if connection.secure else "http"),
        trusted_downstream or (),
    )


class NativeExchange(Exchange):
    """One native request and the response to it, to Tornado an `httputil.HTTPConnection`.

    `start_request` makes Tornado's delegate for it; `max_body_bytes` holds until the handler
    is known, and says otherwise (`flasknado.native.application`). What the delegate raises is
    logged and closes the connection, as in Tornado.
    """

    def __init__(
        self,
        connection: Connection,
        head: RequestHead,
        params: HTTP1ConnectionParameters,
        context: NativeContext,
        start_request: StartRequest,
        max_body_bytes: int,
    ) -> None:
        super().__init__(head, NATIVE, True, max_body_bytes)
        self.gathers = True
        """Whether the handler gets its body whole; set by what runs it."""
        self.params = params
        self.context = context
        self.no_keep_alive = params.no_keep_alive
        self._connection = connection
        self._start_request = start_request
        self._delegate: httputil.HTTPMessageDelegate | None = None
        self._parts: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._awaited = False
        self._told_end = False
        self._limit_holds = False
        self._body_timer: asyncio.TimerHandle | None = None
        self._body_timeout_s = params.body_timeout
        self._close_callback: Callable[[], None] | None = None
        self._write_finished = False
        self._chunked = False
        self._remaining_bytes: int | None = None
        self._detached = False
        self._keep_alive = head.keep_alive and not params.no_keep_alive

    # The request.

    def begin(self) -> None:
        self._in_context(self._begin)

    def _in_context(self, call: Callable[[], object]) -> None:
        """Run a call in a context of this request's, so that what it logs carries its id.

        The context of a connection's callbacks is shared by all of its requests, and by
        whatever else the loop does in their course.
        """
        if current_request_id.get() == self.head.request_id:
            call()
        else:
            self._connection.shared.context.copy().run(self._named, call)

    def _named(self, call: Callable[[], object]) -> None:
        current_request_id.set(self.head.request_id)
        call()

    def _begin(self) -> None:
        head = self.head
        fields = tornado_headers(head)
        if head.host is not None:
            # That of an absolute-form target or of a trusted proxy goes before the field.
            fields["Host"] = head.host
        if head.version == "1.0":
            # It cannot be upgraded (RFC 9110, section 7.8).
            fields.pop("Upgrade", None)
        uri = f"{head.path}?{head.query}" if "?" in head.target else head.path
        start_line = httputil.RequestStartLine(head.method, uri, f"HTTP/{head.version}")
        try:
            delegate = self._start_request(self._connection, cast(Any, self))
            if self.params.decompress:
                delegate = GzipMessageDelegate(
                    delegate, self.params.chunk_size, self.max_body_bytes
                )
            self._delegate = delegate
            result = delegate.headers_received(start_line, fields)
        except Exception as error:
            self._failed(error)
            return
        if result is not None:
            self._await(result, self._head_taken)
        else:
            self._head_taken()

    def _head_taken(self) -> None:
        """Go on to the body; the handler may have set its limits by now."""
        head = self.head
        if self._connection.gone or self._connection.active is not self:
            return
        self._limit_holds = True
        length = head.content_length
        if max(length or 0, self.received_bytes) > self.max_body_bytes:
            self._refuse(body_too_large(self.max_body_bytes, length))
            return
        if not self.complete and (head.content_length or head.chunked):
            if self._body_timeout_s is not None:
                self._body_timer = self._connection.shared.loop.call_later(
                    self._body_timeout_s, self._body_is_late
                )
            if head.expect_continue and not self._write_finished and not self.received_bytes:
                self._connection.transport.write(CONTINUE)
        self._pump()

    def receive(self, data: bytes) -> None:
        self.received_bytes += len(data)
        if self._limit_holds and self.received_bytes > self.max_body_bytes:
            raise body_too_large(self.max_body_bytes)
        size = self.params.chunk_size
        if len(data) <= size:
            self._parts.append(data)
        else:
            self._parts.extend(data[i : i + size] for i in range(0, len(data), size))
        self._waiting_bytes += len(data)
        self._hold(len(data))
        if self._connection.active is self:
            self._in_context(self._pump)

    def _hold(self, size_bytes: int) -> None:
        self.held_bytes += size_bytes
        self._connection.shared.budget.hold(size_bytes)

    def end(self) -> None:
        self.complete = True
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None
        if self._connection.active is self:
            self._in_context(self._pump)

    def stuffed(self) -> bool:
        return self._waiting_bytes > STUFFED_BYTES or (self._awaited and self._waiting_bytes > 0)

    def needs_client(self) -> bool:
        return True

    def drop(self) -> bool:
        self._stop_body_timer()
        if self._delegate is not None and not self._told_end:
            self._told_end = True
            self._call(self._delegate.on_connection_close)
            self._delegate = None
        return not self.status

    def drained(self) -> None:
        pass

    def lost(self) -> None:
        tells_callback = self._delegate is None or self._told_end
        self.drop()
        if tells_callback and self._close_callback is not None:
            self._call(self._close_callback)
        self._close_callback = self._delegate = None

    def _pump(self) -> None:
        """Give the delegate what has come of the body, unless it still works on a part."""
        delegate = self._delegate
        if delegate is None:
            return
        while not self._awaited and self._parts:
            part = self._parts.popleft()
            self._waiting_bytes -= len(part)
            if not self.gathers and self.held_bytes:
                self._hold(-len(part))
            if self._write_finished:
                continue
            try:
                result = delegate.data_received(part)
            except Exception as error:
                self._failed(error)
                return
            if result is not None:
                self._await(result, self._pump)
        if self._awaited or self._parts:
            return
        if self.complete and not self._told_end:
            self._told_end = True
            if not self._write_finished:
                try:
                    delegate.finish()
                except Exception as error:
                    self._failed(error)
        elif not self.complete and self._connection.active is self:
            self._connection.unstuffed()

    def _await(self, awaitable: Awaitable[None], then: Callable[[], None]) -> None:
        future: asyncio.Future[Any] = asyncio.ensure_future(convert_yielded(awaitable))
        if future.done() and not future.cancelled() and future.exception() is None:
            then()
            return
        self._awaited = True

        def go_on(done: asyncio.Future[Any]) -> None:
            self._awaited = False
            if self._connection.gone and not self._detached:
                if not done.cancelled():
                    done.exception()
                return
            try:
                done.result()
            except (Exception, asyncio.CancelledError) as error:
                self._failed(error)
            else:
                then()

        future.add_done_callback(go_on)

    def _failed(self, error: BaseException) -> None:
        """Do what Tornado does when a delegate raises."""
        if isinstance(error, httputil.HTTPInputError):
            self._refuse(RequestError(400, f"the request is malformed: {error}"))
            return
        app_log.error("Uncaught exception", exc_info=error)
        self._connection.abort()

    def _refuse(self, error: RequestError) -> None:
        if self._connection.gone or self._connection.active is not self:
            return
        self._connection.refuse_exchange(self, error)

    def _body_is_late(self) -> None:
        self._body_timer = None
        self._refuse(RequestError(408, "the body of the request did not arrive in time"))

    def _stop_body_timer(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    def _call(self, callback: Callable[[], object]) -> None:
        self._in_context(functools.partial(self._call_guarded, callback))

    def _call_guarded(self, callback: Callable[[], object]) -> None:
        try:
            callback()
        except Exception:
            app_log.exception("Uncaught exception in %r", callback)

    # The response: `tornado.httputil.HTTPConnection`.

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Have `callback()` called if the client goes before the response has ended."""
        self._close_callback = callback

    def set_body_timeout(self, timeout: float) -> None:
        """Give the body of this request `timeout` seconds in all."""
        self._body_timeout_s = timeout

    def set_max_body_size(self, max_body_size: int) -> None:
        """Set the largest body of this request, in bytes."""
        self.max_body_bytes = max_body_size

    def write_headers(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
        chunk: bytes | None = None,
    ) -> asyncio.Future[None]:
        """Write the head of the response and the beginning of its body.

        The future is done when the client took them, and fails if it has gone.
        """
        assert isinstance(start_line, httputil.ResponseStartLine)
        head = self.head
        code = start_line.code
        if code == METHOD_NOT_ALLOWED:
            name_methods(headers, self._delegate)
        bodiless = code in (204, 304) or 100 <= code < 200
        fields = header_lists(headers)  # the names have the case in which Tornado writes them
        self._chunked = (
            head.version == "1.1"
            and head.method != "HEAD"
            and not bodiless
            and "Content-Length" not in fields
            and "Transfer-Encoding" not in fields
        )
        if head.method == "HEAD" or code == 304:
            self._remaining_bytes = 0
        elif "Content-Length" in fields:
            self._remaining_bytes = parse_int(headers["Content-Length"])
        elif head.version == "1.0" and not bodiless:
            self._keep_alive = False  # only the end of the connection can end this body
        if self._chunked:
            headers["Transfer-Encoding"] = "chunked"
        if not self._goes_on():
            if head.version == "1.1":
                headers["Connection"] = "close"
        elif head.version == "1.0":
            headers["Connection"] = "Keep-Alive"
        pairs = [(name, value) for name, values in fields.items() for value in values]
        if head.request_id is not None and _REQUEST_ID_NAME not in fields:
            pairs.append((_REQUEST_ID_NAME, head.request_id))
        head.response_fields = pairs
        lines = [f"HTTP/1.1 {code} {start_line.reason}"]
        for name, value in pairs:
            text = value if isinstance(value, str) else native_str(value)
            lines.append(f"{name}: {text}")
        text = "\r\n".join(lines)
        ends = len(lines) - 1
        if text.count("\r") != ends or text.count("\n") != ends:
            bad = [line for line in lines if "\r" in line or "\n" in line]
            raise ValueError(f"Illegal characters (CR or LF) in header: {bad[0]!r}")
        data = f"{text}\r\n\r\n".encode("latin-1")
        self.status = code
        if chunk:
            data += self._framed(chunk)
        return self._write(data)

    def _goes_on(self) -> bool:
        if not (self._keep_alive and self._connection.keeps_alive):
            self._keep_alive = False
        return self._keep_alive and self.complete

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        """Write a part of the body; the future is as that of `write_headers`."""
        return self._write(self._framed(chunk))

    def finish(self) -> None:
        """Say that the response is complete."""
        connection = self._connection
        if self._remaining_bytes and not connection.gone:
            connection.abort()
            raise httputil.HTTPOutputError(
                f"Tried to write {self._remaining_bytes} bytes less than Content-Length"
            )
        if self._chunked:
            self._write(LAST_CHUNK)
        self._write_finished = True
        self._close_callback = None
        if self._told_end:
            # It refers back to this, and in a cycle the request's body would stay for long.
            self._delegate = None
        if self.status == 101:
            # Tornado's handlers finish the handshake first and detach at once after it.
            connection.shared.loop.call_soon(self._finish_undetached)
        else:
            connection.finished(self, self._keep_alive)

    def _finish_undetached(self) -> None:
        if not self._detached:
            self._connection.finished(self, keep_alive=False)

    def close(self) -> None:
        """Close the connection once what was written has been sent."""
        if not self._detached:
            self._connection.close()

    def detach(self) -> TransportStream:
        """Take the connection out of HTTP; returns it as a stream like `tornado.iostream.IOStream`.

        Raises `RuntimeError` if the request has not been read whole.
        """
        if not self.complete:
            raise RuntimeError("detach() needs a request that has been read completely")
        self._detached = True
        self._close_callback = None
        connection = self._connection
        stream = TransportStream.over(connection)
        if self.status == 101 and _opens_websocket(self.head):
            stream.watch = FrameWatch()
        connection.detach(stream)
        return stream

    @property
    def stream(self) -> TransportStream:
        """The connection as a stream, for its socket and state only: reading stays with HTTP."""
        connection = self._connection
        return TransportStream(
            connection.transport,
            connection.shared,
            write_paused=connection.write_paused,
            passive=True,
        )

    def _framed(self, chunk: bytes) -> bytes:
        if self._remaining_bytes is not None:
            self._remaining_bytes -= len(chunk)
            if self._remaining_bytes < 0:
                self._connection.abort()
                raise httputil.HTTPOutputError("Tried to write more data than Content-Length")
        return frame_chunk(chunk) if self._chunked and chunk else chunk

    def _write(self, data: bytes) -> asyncio.Future[None]:
        connection = self._connection
        closed = connection.gone or connection.transport.is_closing()
        if not closed and connection.active is self:
            self.sent_bytes += len(data)
            connection.transport.write(data)
            return connection.drained()
        return closed_future(connection.shared.loop)


def _opens_websocket(head: RequestHead) -> bool:
    return any(
        name.lower() == b"upgrade" and value.strip().lower() == b"websocket"
        for name, value in head.headers
    )


def tornado_headers(head: RequestHead) -> httputil.HTTPHeaders:
    """Return the fields of a validated head as Tornado's handlers want them."""
    headers = httputil.HTTPHeaders()
    # `add()` would check each field again, at a third of the price of a small handler.
    as_list = header_lists(headers)
    for name, value in head.headers:
        normal = _normal_names.get(name)
        if normal is None:
            normal = "-".join(word.capitalize() for word in name.decode("latin-1").split("-"))
            if len(name) <= KNOWN_NAME_BYTES and len(_normal_names) < _NORMAL_NAMES_LIMIT:
                _normal_names[name] = normal
        text = value.decode("latin-1")
        if normal in as_list:
            as_list[normal].append(text)
        else:
            as_list[normal] = [text]
    return headers


def closed_future(loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
    """Return a future that has failed because the client has gone."""
    future: asyncio.Future[None] = loop.create_future()
    future.set_exception(StreamClosedError())
    future.exception()  # nobody has to look
    return future
