"""The socket of a request, for libraries that answer on it themselves: those of WebSockets.

They look for it in the environ, as other servers put it there. It is made when it is used: then
the connection leaves HTTP, and the socket is a real one, blocking, read and written by the
application's own threads.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flasknado.errors import ClientDisconnected
from flasknado.http.message import RequestHead
from flasknado.websocket.codec import close_frame

if TYPE_CHECKING:
    from flasknado.http.reply import LeftConnection, Reply

GOING_AWAY = 1012
"""What a WebSocket is told when the server restarts ("Service Restart", IANA's registry)."""


LAST_WORD_S = 0.25
"""How long after the WSGI call something may still be sent."""

LINGER_S = 2.0
"""How long after it the client may still send its own end."""


class RequestSocket:
    """Stands for the `socket.socket` of a request, and becomes it at the first use.

    Everything but the addresses is a use, so that a look at it leaves the request as it is.
    Then its methods are those of a blocking socket and may be called on any thread. It is closed
    after the WSGI call, if not before. Raises `OSError` if the client has gone or a response has
    begun, and `StreamsFull` if too many connections hold a thread.

    taking: called before it is taken; raises if it may not be.
    """

    def __init__(self, reply: Reply, head: RequestHead, taking: Callable[[], None]) -> None:
        self._reply = reply
        self._taking: Callable[[], None] | None = taking
        self._speaks_frames = any(
            name.lower() == b"upgrade" and value.lower() == b"websocket"
            for name, value in head.headers
        )
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._left: LeftConnection | None = None
        self._sent_bytes = 0
        self._whole = True
        """Whether everything that was to be sent has been: what comes now begins a frame."""
        self._closed = False

    if TYPE_CHECKING:
        recv: Callable[..., bytes]
        recv_into: Callable[..., int]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not hasattr(socket.socket, name):
            # What every object may be asked for, and what sockets of TLS have besides.
            raise AttributeError(name)
        return getattr(self._socket(), name)

    def __enter__(self) -> RequestSocket:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _socket(self) -> socket.socket:
        left = self._left
        return left.socket if left is not None else self._take().socket

    def _take(self) -> LeftConnection:
        with self._lock:
            if self._left is None:
                taking = self._taking
                if self._closed or taking is None:
                    raise ClientDisconnected("the socket has been closed")
                taking()
                left = self._reply.take_socket()
                left.cut_off = self.cut_off
                # What is called most is found at once.
                self.recv, self.recv_into = left.socket.recv, left.socket.recv_into
                self._left = left
            return self._left

    # The addresses are the connection's, also if the socket is one end of a bridge.

    def getpeername(self) -> Any:
        """Return the address of the client, or of the proxy before it."""
        return self._reply.addresses[1]

    def getsockname(self) -> Any:
        """Return the address on this side."""
        return self._reply.addresses[0]

    def fileno(self) -> int:
        """Return the descriptor, for selectors; -1 once it is closed."""
        return -1 if self._closed else self._socket().fileno()

    # Sending is counted, so that a drain knows whether it may end the conversation.

    def send(self, data: Any, flags: int = 0) -> int:
        """Send what the client takes now; returns how much of it that was."""
        sock = self._socket()
        size_bytes = len(data) if type(data) is bytes else memoryview(data).nbytes
        with self._sending:
            sent_bytes = sock.send(data, flags)
            self._sent_bytes += sent_bytes
            self._whole = sent_bytes == size_bytes
        return sent_bytes

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send everything; waits while the client does not take it."""
        sock = self._socket()
        with self._sending:
            self._whole = False
            sock.sendall(data, flags)
            self._whole = True
            self._sent_bytes += memoryview(data).nbytes

    # The end.

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            left = self._left
        if left is not None:
            # It is counted out also where the application has closed its descriptor, of all things.
            with contextlib.suppress(OSError):
                left.socket.close()
            left.closed(self._sent_bytes)

    @property
    def taken(self) -> bool:
        """Whether the connection has left HTTP, and is open."""
        return self._left is not None and not self._closed

    def end(self) -> None:
        """Close it soon, if nobody else does: the WSGI call has ended.

        A library may have a thread of its own that answers the client's close, or waits for it.
        """
        self._taking = None
        left = self._left
        if left is None or self._closed:
            self._closed = True
            return
        left.later(LAST_WORD_S, self._say_no_more)

    def _say_no_more(self, looks: int = int(LINGER_S / LAST_WORD_S)) -> None:
        """Send an end, and close once the client's has come; on the loop's thread."""
        left = self._left
        if left is None or self._closed:
            return
        try:
            left.socket.shutdown(socket.SHUT_WR)
            ended = (
                _is_ready(left.socket, select.POLLIN)
                and left.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
            )
        except OSError:
            ended = True
        if ended or not looks:
            self.cut_off()
        else:
            left.later(LAST_WORD_S, lambda: self._say_no_more(looks - 1))

    def cut_off(self) -> None:
        """Close it now, whoever reads or writes."""
        if self._left is not None and not self._closed:
            # Who waits on a descriptor that is closed would wait forever.
            with contextlib.suppress(OSError):
                self._left.socket.shutdown(socket.SHUT_RDWR)
        self.close()

    def go_away(self) -> None:
        """Tell a WebSocket's client to come back elsewhere, and its view that nothing more comes.

        The view reads an end, as if the client had closed. Where the application is in the
        middle of a frame, or has not begun, the client is told nothing. Must not block.
        """
        left = self._left
        if left is None or self._closed:
            return
        if self._speaks_frames and self._sent_bytes and self._sending.acquire(blocking=False):
            try:
                if self._whole and _is_ready(left.socket, select.POLLOUT):
                    frame = close_frame(GOING_AWAY, "the server restarts")
                    with contextlib.suppress(OSError):
                        left.socket.send(frame, socket.MSG_DONTWAIT)
            finally:
                self._sending.release()
        with contextlib.suppress(OSError):
            left.socket.shutdown(socket.SHUT_RD)


def _is_ready(sock: socket.socket, event: int) -> bool:
    """Return whether a call would not wait: with a timeout set Python waits whatever the flags."""
    poll = select.poll()
    poll.register(sock, event)
    return bool(poll.poll(0))
