"""Tornado's own connections as a source of requests and a sink of replies.

The adapter between `tornado.httputil`'s interfaces and the neutral types of
`flasknado.http.message`: it serves the stock connection layer (`http="tornado"`) and a
`WSGIContainer` inside Tornado's own server, routing or `FallbackHandler`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final

from tornado import httputil

from flasknado.errors import ClientDisconnected, RequestError
from flasknado.http.body import BodyBuffer
from flasknado.http.body_limits import body_too_large
from flasknado.http.mailbox import mailbox_of
from flasknado.http.message import (
    RequestHead,
    ResponseHead,
    error_response,
)
from flasknado.http.reply import (
    BeginOnLoop,
    Container,
    LeftConnection,
    Room,
    TakeConnection,
    WatchedRoom,
)
from flasknado.native import tornado_private
from flasknado.native.heads import head_from
from flasknado.native.heads import head_of as head_of
from flasknado.wsgi.sendfile import copy_file

BODY_SLACK_BYTES: Final = 1024 * 1024
"""How far above our own limit Tornado's lies, so that ours is met first."""


class ContainerDelegate(httputil.HTTPMessageDelegate):
    """Gathers one request from a Tornado connection for a container."""

    def __init__(
        self,
        container: Container,
        connection: httputil.HTTPConnection,
        head: RequestHead | None = None,
    ) -> None:
        self._container = container
        self._connection = connection
        self._head = head
        self._body: BodyBuffer | None = None
        self._method = ""
        self._finished = False
        self._caught_up: asyncio.Future[None] | None = None
        """Done when the disk has written enough for more to be read."""

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, httputil.RequestStartLine)
        self._method = start_line.method
        try:
            if self._head is None:
                self._head = head_from(start_line, headers, self._connection)
            head = self._head
            limit_bytes = self._container.max_body_bytes_for(head)
            if head.content_length is not None and head.content_length > limit_bytes:
                raise body_too_large(limit_bytes, head.content_length)
        except RequestError as error:
            self._refuse(error)
            return None
        set_max_body_size = getattr(self._connection, "set_max_body_size", None)
        if set_max_body_size is not None:
            # `BodyBuffer` counts and answers 413; Tornado's own limit would answer 400.
            set_max_body_size(limit_bytes + BODY_SLACK_BYTES)
        mailbox = mailbox_of(asyncio.get_running_loop())
        self._body = BodyBuffer(limit_bytes, mailbox, self._disk_progress)
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if self._body is not None:
            try:
                self._body.append(chunk)
            except RequestError as error:
                self._refuse(error)
            else:
                if self._body.behind:
                    self._caught_up = asyncio.get_running_loop().create_future()
                    return self._caught_up
        return None

    def finish(self) -> None:
        self._finished = True
        self._disk_progress()

    def _disk_progress(self) -> None:
        """Go on as far as what has come is in memory or on disk."""
        if self._body is None or self._head is None:
            return
        try:
            written = self._body.written
        except RequestError as error:
            self._refuse(error)
        else:
            if self._finished and written:
                body, self._body = self._body, None
                reply = StockReply(self._connection, self._head)
                self._container.handle(self._head, body.complete(), reply)
        if self._caught_up is not None and (self._body is None or not self._body.behind):
            self._caught_up.set_result(None)
            self._caught_up = None

    @property
    def held_bytes(self) -> int:
        """How much of the body is in memory."""
        return self._body.held_bytes if self._body is not None else 0

    def on_connection_close(self) -> None:
        if self._body is not None:
            self._body.discard()
            self._body = None
        if self._caught_up is not None:
            self._caught_up.set_result(None)
            self._caught_up = None

    def _refuse(self, error: RequestError) -> None:
        if self._body is not None:
            self._body.discard()
            self._body = None
        refuse(self._connection, self._head, error, self._method)


class StockReply:
    """A `Reply` that is written through `tornado.httputil.HTTPConnection`.

    Made on the loop's thread once the request has been read. What it is told by a pool's
    thread it posts to the loop; the private methods belong to the loop's thread.
    """

    __slots__ = (
        "_close_at_end",
        "_connection",
        "_gone",
        "_head_written",
        "_mailbox",
        "_request",
        "_room",
    )

    def __init__(self, connection: httputil.HTTPConnection, request: RequestHead) -> None:
        self._mailbox = mailbox_of(asyncio.get_running_loop())
        self._connection = connection
        self._request = request
        self._room: Room | None = None
        self._gone = False
        self._close_at_end = False
        self._head_written = False
        set_close_callback = getattr(connection, "set_close_callback", None)
        if set_close_callback is not None:
            set_close_callback(self._lost)

    @property
    def gone(self) -> bool:
        return self._gone

    @property
    def begun(self) -> bool:
        return self._room is not None

    @property
    def stalled(self) -> bool:
        return self._room is not None and self._room.full

    @property
    def leaves_http(self) -> bool:
        return False

    @property
    def addresses(self) -> tuple[Any, Any]:
        return None, None

    def send(self, head: ResponseHead, body: bytes) -> None:
        self._mailbox.post(self._send, head, body)

    def start(self, head: ResponseHead) -> None:
        self._room = Room()
        self._mailbox.post(self._write_head, head, None)

    def write(self, chunk: bytes) -> None:
        room = self._room
        if room is None:
            raise RuntimeError("write() was called before start(): start the response first")
        room.enter(len(chunk))
        self._mailbox.post(self._write_chunk, room, chunk)

    def leave_file(self, file_fd: int, offset: int, size_bytes: int) -> None:
        self._mailbox.post(self._begin_file, file_fd, offset, size_bytes)

    def hand_over(self, head: ResponseHead, take: TakeConnection) -> None:
        self._mailbox.post(self._leave, head, take)

    def take_socket(self) -> LeftConnection:
        raise ClientDisconnected("connections of Tornado's own layer cannot be taken")

    def finish(self) -> None:
        self._mailbox.post(self._end)

    def abort(self) -> None:
        self._mailbox.post(_close, self._connection)

    def leave_to_loop(self, begin: BeginOnLoop) -> bool:
        self._mailbox.post(begin, self)
        return True

    # What the loop writes by itself (`flasknado.http.reply.LoopReply`).

    def watch(self, on_gone: Callable[[], None]) -> None:
        self._room = WatchedRoom(on_gone)

    def begin_body(self, head: ResponseHead) -> None:
        self._write_head(head, None)

    def push(self, chunk: bytes) -> asyncio.Future[None] | None:
        if self._gone:
            return None
        written: asyncio.Future[None] = self._connection.write(chunk)
        if not written.done():
            return written
        written.exception()  # nobody has to look: the client has gone
        return None

    def end_body(self) -> None:
        self._end()

    def cut_off(self) -> None:
        _close(self._connection)

    def end_early(self) -> bool:
        if self._gone:
            return True
        if not self._head_written:
            return False
        tornado_private.end_after_response(self._connection)
        self._end()
        self._lost()
        return True

    def _lost(self) -> None:
        """The client has gone."""
        self._gone = True
        if self._room is not None:
            self._room.close()

    def _send(self, head: ResponseHead, body: bytes) -> None:
        self._write_head(head, body if head.has_body else None)
        self._end()

    def _write_head(self, head: ResponseHead, body: bytes | None) -> None:
        if self._gone:
            return
        self._head_written = True
        if head.has_body and head.content_length is None and self._request.version == "1.0":
            # Only the end of the connection can end this body (RFC 9112, section 6.3).
            self._close_at_end = True
            tornado_private.forget_keep_alive(self._connection)
        self._connection.write_headers(*_tornado_head(head), body)

    def _write_chunk(self, room: Room, chunk: bytes) -> None:
        if self._gone:
            return
        written = self._connection.write(chunk)
        written.add_done_callback(lambda _: room.leave(len(chunk)))

    def _begin_file(self, file_fd: int, offset: int, size_bytes: int) -> None:
        copying = copy_file(file_fd, offset, size_bytes, self._connection.write)
        task = asyncio.get_running_loop().create_task(copying)

        def copied(task: asyncio.Task[int]) -> None:
            os.close(file_fd)
            if task.cancelled() or task.exception() is not None or task.result() < size_bytes:
                _close(self._connection)
            else:
                self._end()

        task.add_done_callback(copied)

    def _leave(self, head: ResponseHead, take: TakeConnection) -> None:
        if self._gone:
            return
        start_line, fields = _tornado_head(head)
        fields["Connection"] = "close"
        chunked = self._request.version == "1.1"
        if chunked:
            fields["Transfer-Encoding"] = "chunked"
        connection: Any = self._connection
        connection.write_headers(start_line, fields)
        take(connection.detach(), chunked)

    def _end(self) -> None:
        if self._gone:
            return
        if self._close_at_end:
            last = self._connection.write(b"")
            self._connection.finish()
            last.add_done_callback(lambda _: _close(self._connection))
        else:
            self._connection.finish()


def _tornado_head(
    head: ResponseHead,
) -> tuple[httputil.ResponseStartLine, httputil.HTTPHeaders]:
    fields = httputil.HTTPHeaders()
    for name, value in head.headers:
        fields.add(name, value)
    return httputil.ResponseStartLine("HTTP/1.1", head.status, head.reason), fields


def refuse(
    connection: httputil.HTTPConnection, head: RequestHead | None, error: RequestError, method: str
) -> None:
    """Answer a request that no application sees, and close; on the loop's thread.

    `head` is `None` if it is not valid; the method is known then, too.
    """
    response, body = error_response(head, error)
    if method == "HEAD":
        body = b""
    start_line, fields = _tornado_head(response)
    fields["Connection"] = "close"
    tornado_private.end_after_response(connection)
    written = connection.write_headers(start_line, fields, body or None)
    connection.finish()
    written.add_done_callback(lambda _: _close(connection))


def leave_if_ended(server_conn: Any, connection: Any) -> bool:
    """Return whether a request came behind the last one of a Tornado connection; read no more then.

    It waits in the connection's buffer, and Tornado would go on with it; nobody would
    get the answer.
    """
    previous = getattr(server_conn, "previous_request", None)
    server_conn.previous_request = connection
    if previous is None or not tornado_private.ends_after_response(previous):
        return False
    connection.detach()
    return True


def _close(connection: httputil.HTTPConnection) -> None:
    close = getattr(connection, "close", None)
    if close is not None:
        close()
