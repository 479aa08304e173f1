"""The way back to one client: a response written from a pool thread, under back-pressure.

Whoever answers either calls `send()` once, or `start()`, any number of `write()`, then
`finish()`; or `abort()` at any point.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol

from mypy_extensions import mypyc_attr

from flasknado.errors import ClientDisconnected
from flasknado.http.message import Body, RequestHead, ResponseHead

HIGH_WATER_BYTES: Final = 128 * 1024
"""How much of a stream may wait for its client before the writing thread waits too."""


TakeConnection = Callable[[Any, bool], None]
"""Called on the loop's thread with a connection that has left HTTP, as an `IOStream`, and
whether what is written to it must be in chunks."""


class LoopReply(Protocol):
    """One response that a thread has left to the event loop; all of it on the loop's thread.

    Whoever answers calls `watch()` first, and then either `send()`, or `begin_body()`, any number
    of `push()` and `end_body()`; or `cut_off()` at any point.
    """

    @property
    def gone(self) -> bool:
        """True once the client has disconnected."""

    def watch(self, on_gone: Callable[[], None]) -> None:
        """Have `on_gone()` called when the client disconnects; half-closing is that, too."""

    def send(self, head: ResponseHead, body: bytes) -> None:
        """Send a whole response instead."""

    def begin_body(self, head: ResponseHead) -> None:
        """Send the head of a response whose body follows by `push()`."""

    def push(self, chunk: bytes) -> asyncio.Future[None] | None:
        """Send a part of the body; returns `None`, or what to await before the next one.

        The future fails if the client goes. To one that has gone nothing is sent.
        """

    def end_body(self) -> None:
        """Say that the body is complete."""

    def end_early(self) -> bool:
        """Say that the body is complete, and that the connection closes; see `Reply`."""

    def cut_off(self) -> None:
        """Close the connection at once: what was promised cannot be kept."""


BeginOnLoop = Callable[[LoopReply], None]
"""Called on the loop's thread with a response that was left to it."""


class LeftConnection(Protocol):
    """A connection that has left HTTP for a thread of the application. Any thread may call it."""

    socket: socket.socket
    """A blocking socket; whoever has it closes it, and says so."""

    cut_off: Callable[[], None]
    """What closes the socket while others may use it, on the loop's thread; set by who has it."""

    def closed(self, sent_bytes: int) -> None:
        """Say that the socket has been closed, and how much was sent on it; once."""

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        """Have `call()` made on the loop's thread in a while."""


class Reply(Protocol):
    """One response on its way to one client.

    Its methods may be called on any thread, but by one thread at a time. Only `write()` and
    `take_socket()` wait.
    What is written to a client that has gone is dropped, except that `write()` raises, so that
    a stream ends.
    """

    @property
    def gone(self) -> bool:
        """True once the client has disconnected. May be read on any thread."""

    @property
    def begun(self) -> bool:
        """Whether a stream has been started. May be read on any thread."""

    @property
    def stalled(self) -> bool:
        """Whether a stream waits for its client to read. May be read on any thread."""

    @property
    def leaves_http(self) -> bool:
        """Whether `take_socket()` can be called."""

    @property
    def addresses(self) -> tuple[Any, Any]:
        """The addresses of the connection, on this side and on the other, as sockets have them."""

    def send(self, head: ResponseHead, body: bytes) -> None:
        """Send a whole response. Never waits: the body is in memory already."""

    def start(self, head: ResponseHead) -> None:
        """Send the head of a response whose body follows by `write()`. Never waits."""

    def write(self, chunk: bytes) -> None:
        """Send a part of the body; wait while the client has not taken what went before.

        Raises `ClientDisconnected` if the client has gone, also while waiting.
        """

    def leave_file(self, file_fd: int, offset: int, size_bytes: int) -> None:
        """Send a part of a file as the whole body of a stream, and end that. Never waits.

        The descriptor is closed once it is not needed any more. If the file is shorter than
        that by then, the connection is closed.
        """

    def hand_over(self, head: ResponseHead, take: TakeConnection) -> None:
        """Send the head of an endless response and leave the connection to `take`. Never waits.

        If the client has gone, `take` is not called.
        """

    def leave_to_loop(self, begin: BeginOnLoop) -> bool:
        """Leave the whole response to the event loop. Never waits.

        Returns false, and does not call `begin`, if the client has been answered already.
        """

    def take_socket(self) -> LeftConnection:
        """Take the connection out of HTTP, instead of a response. Waits for the loop.

        Raises `ClientDisconnected` if the client has gone.
        """

    def end_early(self) -> bool:
        """Complete a stream that its thread goes on with, and close its connection; on the loop.

        From then on its client counts as gone. Returns false if the head has not been sent yet.
        """

    def finish(self) -> None:
        """Say that the body is complete. Never waits."""

    def abort(self) -> None:
        """Close the connection at once: what was promised cannot be kept. Never waits."""


@mypyc_attr(allow_interpreted_subclasses=True)
class ReplyWrapper:
    """A `Reply` that passes everything on to another; subclasses change a part of it."""

    __slots__ = ("_reply",)

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    @property
    def gone(self) -> bool:
        return self._reply.gone

    @property
    def begun(self) -> bool:
        return self._reply.begun

    @property
    def stalled(self) -> bool:
        return self._reply.stalled

    @property
    def leaves_http(self) -> bool:
        return self._reply.leaves_http

    @property
    def addresses(self) -> tuple[Any, Any]:
        return self._reply.addresses

    def send(self, head: ResponseHead, body: bytes) -> None:
        self._reply.send(head, body)

    def start(self, head: ResponseHead) -> None:
        self._reply.start(head)

    def write(self, chunk: bytes) -> None:
        self._reply.write(chunk)

    def leave_file(self, file_fd: int, offset: int, size_bytes: int) -> None:
        self._reply.leave_file(file_fd, offset, size_bytes)

    def hand_over(self, head: ResponseHead, take: TakeConnection) -> None:
        self._reply.hand_over(head, take)

    def leave_to_loop(self, begin: BeginOnLoop) -> bool:
        return self._reply.leave_to_loop(begin)

    def take_socket(self) -> LeftConnection:
        return self._reply.take_socket()

    def end_early(self) -> bool:
        return self._reply.end_early()

    def finish(self) -> None:
        self._reply.finish()

    def abort(self) -> None:
        self._reply.abort()


class Room:
    """What of a stream waits for its client; the writing thread waits here while it is too much."""

    __slots__ = ("_changed", "_closed", "_waiting_bytes")

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._closed = False
        self._waiting_bytes = 0

    @property
    def full(self) -> bool:
        """Whether the writing thread waits. May be read on any thread."""
        return self._waiting_bytes >= HIGH_WATER_BYTES

    def enter(self, size_bytes: int) -> None:
        """Count bytes that are to be sent, once there is room; on the writing thread.

        Raises `ClientDisconnected` after `close()`, also while waiting.
        """
        with self._changed:
            while self._waiting_bytes >= HIGH_WATER_BYTES and not self._closed:
                self._changed.wait()
            if self._closed:
                raise ClientDisconnected("the client closed the connection")
            self._waiting_bytes += size_bytes

    def leave(self, size_bytes: int) -> None:
        """Count bytes that the client's socket took; on the loop's thread."""
        with self._changed:
            self._waiting_bytes -= size_bytes
            if self._waiting_bytes < HIGH_WATER_BYTES:
                self._changed.notify_all()

    def close(self) -> None:
        """Say that the client has gone; on the loop's thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class WatchedRoom(Room):
    """The room of a response that the loop writes: nobody waits in it."""

    __slots__ = ("_on_gone",)

    def __init__(self, on_gone: Callable[[], None]) -> None:  # without what a thread waits with
        self._on_gone = on_gone
        self._waiting_bytes = 0

    def close(self) -> None:
        self._on_gone()


class Container(Protocol):
    """What takes ordinary requests from a connection: `flasknado.wsgi.container`."""

    def max_body_bytes_for(self, head: RequestHead) -> int:
        """Return the largest body accepted for this request; asked on the loop's thread."""

    def handle(self, head: RequestHead, body: Body | None, reply: Reply) -> None:
        """Take one complete request; `body` is `None` if it has none.

        Called on the loop's thread, must not block.
        """

    @property
    def requests_waiting(self) -> int:
        """How many requests wait for a thread. May be read on any thread."""


class Front(Protocol):
    """What may answer ordinary requests in the application's place: `flasknado.live.cache`."""

    def begin(self) -> None:
        """Prepare for serving; called on the loop's thread once the server listens."""

    def take(self, head: RequestHead, reply: Reply) -> bool:
        """Answer a complete request, now or later, or return false: the application has to.

        Called on the loop's thread, must not block.
        """
