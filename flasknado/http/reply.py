"""The way back to one client: a response written from a pool thread, under back-pressure.

A connection layer subclasses `Reply` and implements the `_on_loop` methods; the container
calls the public ones. Either `send()` once, or `start()`, any number of `write()`, then
`finish()`; or `abort()` at any point.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, Protocol

from mypy_extensions import mypyc_attr

from flasknado.errors import ClientDisconnected
from flasknado.http.mailbox import Mailbox
from flasknado.http.message import Body, RequestHead, ResponseHead

HIGH_WATER_BYTES: Final = 128 * 1024
"""How much of a stream may wait for its client before the writing thread waits too."""


TakeConnection = Callable[[Any, bool], None]
"""Called on the loop's thread with a connection that has left HTTP, as an `IOStream`, and
whether what is written to it must be in chunks."""


@mypyc_attr(allow_interpreted_subclasses=True)
class ResponseSink(ABC):
    """The part of `Reply` that whoever writes a response needs."""

    __slots__ = ()

    @property
    @abstractmethod
    def gone(self) -> bool: ...
    @property
    @abstractmethod
    def begun(self) -> bool: ...
    @abstractmethod
    def send(self, head: ResponseHead, body: bytes) -> None: ...
    @abstractmethod
    def start(self, head: ResponseHead) -> None: ...
    @abstractmethod
    def write(self, chunk: bytes) -> None: ...
    @abstractmethod
    def send_file(self, file_fd: int, offset: int, count: int) -> int: ...
    @abstractmethod
    def hand_over(self, head: ResponseHead, take: TakeConnection) -> None: ...
    @abstractmethod
    def finish(self) -> None: ...
    @abstractmethod
    def abort(self) -> None: ...


class Reply(ResponseSink):
    """One response on its way to one client.

    The public methods may be called on any thread, but by one thread at a time. Only
    `write()` waits. What is written to a client that has gone is dropped, except that
    `write()` raises, so that a stream ends.
    """

    __slots__ = ("_gone", "_mailbox", "_room", "_unsent_bytes")

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._gone = False
        self._room: threading.Condition | None = None
        self._unsent_bytes = 0

    @property
    def gone(self) -> bool:
        """True once the client has disconnected. May be read on any thread."""
        return self._gone

    @property
    def begun(self) -> bool:
        """Whether a stream has been started. May be read on any thread."""
        return self._room is not None

    def send(self, head: ResponseHead, body: bytes) -> None:
        """Send a whole response. Never waits: the body is in memory already."""
        self._mailbox.post(self._send_on_loop, head, body)

    def start(self, head: ResponseHead) -> None:
        """Send the head of a response whose body follows by `write()`. Never waits."""
        self._room = threading.Condition()
        self._mailbox.post(self._start_on_loop, head)

    def write(self, chunk: bytes) -> None:
        """Send a part of the body; wait while the client has not taken what went before.

        Raises `ClientDisconnected` if the client has gone, also while waiting.
        """
        room = self._room
        if room is None:
            raise RuntimeError("write() was called before start(): start the response first")
        with room:
            while self._unsent_bytes >= HIGH_WATER_BYTES and not self._gone:
                room.wait()
            if self._gone:
                raise ClientDisconnected("the client closed the connection")
            self._unsent_bytes += len(chunk)
        self._mailbox.post(self._write_on_loop, chunk)

    def send_file(self, file_fd: int, offset: int, count: int) -> int:  # noqa: ARG002
        """Send a part of a file as body, past Python; returns how many bytes went.

        Fewer than `count` go where the connection cannot do it (none), or where the file
        ends; the rest is for `write()`. Waits and raises as `write()` does.
        """
        return 0

    def hand_over(self, head: ResponseHead, take: TakeConnection) -> None:
        """Send the head of an endless response and leave the connection to `take`. Never waits.

        If the client has gone, `take` is not called.
        """
        self._mailbox.post(self._hand_over_on_loop, head, take)

    def finish(self) -> None:
        """Say that the body is complete. Never waits."""
        self._mailbox.post(self._finish_on_loop)

    def abort(self) -> None:
        """Close the connection at once: what was promised cannot be kept. Never waits."""
        self._mailbox.post(self._abort_on_loop)

    def client_gone(self) -> None:
        """Say that the client has disconnected, so that `write()` stops waiting and raises.

        Called by the connection layer, on the loop's thread.
        """
        self._gone = True
        if self._room is not None:
            with self._room:
                self._room.notify_all()

    def _taken(self, size_bytes: int) -> None:
        """Say that the client's socket took `size_bytes` of the body; on the loop's thread."""
        room = self._room
        if room is not None:
            with room:
                self._unsent_bytes -= size_bytes
                if self._unsent_bytes < HIGH_WATER_BYTES:
                    room.notify_all()

    @abstractmethod
    def _send_on_loop(self, head: ResponseHead, body: bytes) -> None: ...

    @abstractmethod
    def _start_on_loop(self, head: ResponseHead) -> None: ...

    @abstractmethod
    def _write_on_loop(self, chunk: bytes) -> None:
        """Write a part; call `_taken(len(chunk))` once the socket took it."""

    @abstractmethod
    def _hand_over_on_loop(self, head: ResponseHead, take: TakeConnection) -> None: ...

    @abstractmethod
    def _finish_on_loop(self) -> None: ...

    @abstractmethod
    def _abort_on_loop(self) -> None: ...


class Container(Protocol):
    """What takes ordinary requests from a connection: `flasknado.wsgi.WSGIContainer`."""

    @property
    def requests_waiting(self) -> int:
        """How many requests wait for a thread."""

    def max_body_bytes_for(self, head: RequestHead) -> int:
        """Return the largest body accepted for this request; asked on the loop's thread."""

    def handle(self, head: RequestHead, body: Body, reply: Reply) -> None:
        """Take one complete request; called on the loop's thread, must not block."""
