"""Connections under TLS: accepted here, so that a handshake counts as a connection.

An event loop's own server makes the protocol known only once the handshake is over, so
thousands of unfinished ones would count as none.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from flasknado.http.counters import Counters

if TYPE_CHECKING:
    from flasknado.http.connection import Connection

log = logging.getLogger("flasknado.http")

ACCEPTED_AT_ONCE = 64
"""How many connections are accepted before others have their turn on the loop."""

REST_S = 1.0
"""How long nobody is accepted when the process has no file descriptor left."""

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class TLSAcceptor:
    """Accepts connections and does their handshakes. Belongs to the loop's thread.

    `make_connection()` returns what serves one. At `max_connections` one more is closed
    without a handshake.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make_connection: Callable[[], Connection],
        context: ssl.SSLContext,
        counters: Counters,
        *,
        max_connections: int,
        timeout_s: float,
    ) -> None:
        self._loop = loop
        self._make_connection = make_connection
        self._context = context
        self._traffic = counters
        self._max_connections = max_connections
        self._timeout_s = timeout_s
        self._sockets: list[socket.socket] = []
        self._handshakes: set[asyncio.Task[None]] = set()

    def listen(self, sock: socket.socket, backlog: int) -> None:
        """Accept connections on a bound socket."""
        sock.setblocking(False)
        sock.listen(backlog)
        self._sockets.append(sock)
        self._loop.add_reader(sock, self._accept, sock)

    def close(self, waiting: Iterable[socket.socket]) -> None:
        """Accept no more, but for those that wait already; handshakes go on."""
        sockets, self._sockets = self._sockets, []
        for sock in sockets:
            self._loop.remove_reader(sock)
        for connection in waiting:
            self.take(connection)

    def _accept(self, sock: socket.socket) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                connection, _address = sock.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    log.error("connections cannot be accepted: %s", error)
                    self._loop.remove_reader(sock)
                    self._loop.call_later(REST_S, self._accept_again, sock)
                return
            connection.setblocking(False)
            self.take(connection)

    def _accept_again(self, sock: socket.socket) -> None:
        if sock in self._sockets:
            self._loop.add_reader(sock, self._accept, sock)

    def take(self, sock: socket.socket) -> None:
        """Begin the handshake of a connection, or close it if there are too many."""
        counters = self._traffic
        if counters.connections_open >= self._max_connections:
            counters.connections_accepted += 1
            counters.connections_refused += 1
            sock.close()
            return
        counters.connections_open += 1
        task = self._loop.create_task(self._shake(sock))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _shake(self, sock: socket.socket) -> None:
        connection = self._make_connection()
        connection.counted = True
        try:
            await self._loop.connect_accepted_socket(  # type: ignore[type-var]  # it has the methods
                lambda: connection,
                sock,
                ssl=self._context,
                ssl_handshake_timeout=self._timeout_s,
            )
        except OSError as error:  # of ssl, too, and timeouts
            log.debug("a TLS handshake failed: %s", error)
        finally:
            if connection.counted:
                connection.counted = False
                self._traffic.connections_open -= 1
