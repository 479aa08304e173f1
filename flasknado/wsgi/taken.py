"""A connection that an application has taken as a socket: left to it, or bridged to it.

A plain connection is left whole: the application gets the socket itself, and the loop nothing
more of it. One with TLS, or of which something was read or is not yet written, stays on the
loop, which copies between it and one end of a socket pair; the application gets the other.
Everything here belongs to the loop's thread unless it says otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from flasknado.errors import ClientDisconnected
from flasknado.http.flow import Flow

if TYPE_CHECKING:
    from flasknado.http.connection import Connection

BLOCK_BYTES = 64 * 1024
"""How much is copied at once, and how much of what the application has not read may wait."""

KEEP_ALIVE_IDLE_S = 60
KEEP_ALIVE_INTERVAL_S = 15
"""After how long a silent client is asked whether it is there, and how often."""


class TakenConnection(Flow):
    """A connection that has left HTTP for an application's thread (`LeftConnection`)."""

    def __init__(self, connection: Connection, taken: Future[TakenConnection]) -> None:
        super().__init__(connection.shared)
        self.transport = connection.transport
        self.write_paused = connection.write_paused
        self.socket: socket.socket
        """What the application gets."""
        self.cut_off: Callable[[], None] = self.transport.abort
        self._secure = connection.secure
        self._eof = connection.eof
        self._taken = taken
        self._moved: socket.socket | None = None
        """A duplicate of the connection's socket, while the loop lets go of that."""
        self._inner: socket.socket | None = None
        """Our end of the bridge."""
        self._to_application = bytearray()
        self._cut_off_timer: asyncio.TimerHandle | None = None
        self._delivered = False
        """Whether the application has got its socket, and will say when it is closed."""
        self._closed = False
        """Whether it has said so."""

    def begin(self) -> None:
        """Leave the connection to the application, once it has been detached to this."""
        own = self.transport.get_extra_info("socket")
        if own is None or self.transport.is_closing():
            self._taken.set_exception(ClientDisconnected("the client closed the connection"))
            return
        with contextlib.suppress(OSError):
            self._bound_waits(own)
        try:
            if self._secure or self._to_application or self.transport.get_write_buffer_size():
                self._build_bridge()
            else:
                self._move(own)
        except OSError as error:  # too many files are open
            self._taken.set_exception(error)
            self.transport.abort()

    def _bound_waits(self, own: socket.socket) -> None:
        """Have the system give up a client that has vanished, or takes nothing."""
        own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if own.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_USER_TIMEOUT"):
            tcp = socket.IPPROTO_TCP
            own.setsockopt(tcp, socket.TCP_KEEPIDLE, KEEP_ALIVE_IDLE_S)
            own.setsockopt(tcp, socket.TCP_KEEPINTVL, KEEP_ALIVE_INTERVAL_S)
            timeout_ms = int(self.shared.limits.write_timeout_s * 1000)
            own.setsockopt(tcp, socket.TCP_USER_TIMEOUT, timeout_ms)

    # Left whole.

    def _move(self, own: socket.socket) -> None:
        self._pause_reading()
        self._moved = socket.socket(fileno=os.dup(own.fileno()))
        self.transport.abort()  # closes the loop's descriptor; the connection lives on

    def _moved_out(self, moved: socket.socket) -> None:
        moved.setblocking(True)
        self.socket = moved
        self._deliver()

    def _deliver(self) -> None:
        self._delivered = True
        self.shared.taken.add(self)
        self._taken.set_result(self)

    # On a bridge.

    def _build_bridge(self) -> None:
        self.socket, self._inner = socket.socketpair()
        self._inner.setblocking(False)
        self._flush()
        if not self.write_paused:
            self.shared.loop.add_reader(self._inner.fileno(), self._from_application)
        self._deliver()

    def data_received(self, data: bytes) -> None:
        self._to_application += data
        if self._inner is not None:
            self._flush()

    def eof_received(self) -> bool:
        self._eof = True
        if self._inner is not None:
            self._flush()
        return not self._secure

    def _flush(self) -> None:
        """Give the application what came for it, as far as it takes it."""
        inner, waiting = self._inner, self._to_application
        assert inner is not None
        if waiting:
            try:
                del waiting[: inner.send(waiting)]
            except BlockingIOError:
                pass
            except OSError:  # it reads no more
                waiting.clear()
        loop = self.shared.loop
        if waiting:
            loop.add_writer(inner.fileno(), self._flush)
        else:
            loop.remove_writer(inner.fileno())
            if self._eof:
                with contextlib.suppress(OSError):
                    inner.shutdown(socket.SHUT_WR)
        if len(waiting) > BLOCK_BYTES:
            self._pause_reading()
        else:
            self._resume_reading()

    def _from_application(self) -> None:
        inner = self._inner
        assert inner is not None
        try:
            data = inner.recv(BLOCK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.transport.write(data)
        else:
            self.shared.loop.remove_reader(inner.fileno())
            self.transport.close()
            self._cut_off_later()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._inner is not None:
            self.shared.loop.remove_reader(self._inner.fileno())
            self._cut_off_later()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._cut_off_timer is not None:
            self._cut_off_timer.cancel()
        if self._inner is not None and not self.transport.is_closing():
            self.shared.loop.add_reader(self._inner.fileno(), self._from_application)

    def _cut_off_later(self) -> None:
        """Cut the client off if it takes nothing for long."""
        if self._cut_off_timer is not None:
            self._cut_off_timer.cancel()
        loop, timeout_s = self.shared.loop, self.shared.limits.write_timeout_s
        self._cut_off_timer = loop.call_later(timeout_s, self.transport.abort)

    # The end.

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_flow(exc)
        if self._cut_off_timer is not None:
            self._cut_off_timer.cancel()
        moved, self._moved = self._moved, None
        if moved is not None:
            self._moved_out(moved)
            return
        inner, self._inner = self._inner, None
        if inner is not None:
            loop = self.shared.loop
            loop.remove_reader(inner.fileno())
            loop.remove_writer(inner.fileno())
            with contextlib.suppress(OSError):
                inner.send(self._to_application)
            inner.close()
            self._leave_if_over()
        if not self._delivered:
            if not self._taken.done():
                self._taken.set_exception(ClientDisconnected("the client closed the connection"))
            self._count_out(0)

    def abort(self) -> None:
        """Cut the client off, and wake the application."""
        self.shared.taken.discard(self)
        self.cut_off()
        self.transport.abort()

    def closed(self, sent_bytes: int) -> None:
        """Say that the application's end has been closed; once, on any thread."""
        self.shared.mailbox.post(self._count_out, sent_bytes)

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        """Have `call()` made on the loop's thread in a while. Any thread."""
        self.shared.mailbox.post(self.shared.loop.call_later, delay_s, call)

    def _leave_if_over(self) -> None:
        if self._closed and self._inner is None:
            self.shared.taken.discard(self)

    def _count_out(self, sent_bytes: int) -> None:
        self._closed = True
        self._leave_if_over()
        counters = self.shared.counters
        counters.connections_open -= 1
        counters.connections_upgraded -= 1
        if self.on_lost is not None:
            self.on_lost(sent_bytes)
