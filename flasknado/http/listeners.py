"""Listening sockets of the llhttp layer, on the event loop's own servers.

Tornado's `add_sockets` returns at once, but an asyncio server starts in a task: until it
runs, the sockets' backlog holds the connections that arrive.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flasknado.http.tls import TLSAcceptor

log = logging.getLogger("flasknado.http")

BACKLOG = 2048
"""How many connections the kernel may hold for a listening socket, unless its own limit is less."""


class Listeners:
    """The listening sockets of one server; belongs to the loop's thread.

    `make_protocol()` returns what has the methods of `asyncio.Protocol`, for each connection;
    with `tls` that accepts them.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make_protocol: Callable[[], Any],
        tls: TLSAcceptor | None = None,
    ) -> None:
        self._loop = loop
        self._make_protocol = make_protocol
        self._tls = tls
        self._sockets: list[socket.socket] = []
        self._starting: set[asyncio.Task[None]] = set()
        self._taking: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.AbstractServer] = []

    def add(self, sockets: Iterable[socket.socket]) -> None:
        """Accept connections on bound sockets, TCP or Unix; does not wait."""
        for sock in sockets:
            self._sockets.append(sock)
            if self._tls is not None:
                self._tls.listen(sock, BACKLOG)
                continue
            task = self._loop.create_task(self._serve(sock))
            self._starting.add(task)
            task.add_done_callback(self._started)

    async def _serve(self, sock: socket.socket) -> None:
        if sock.family == getattr(socket, "AF_UNIX", None):
            server: asyncio.AbstractServer = await self._loop.create_unix_server(
                self._make_protocol, sock=sock, backlog=BACKLOG
            )
        else:
            server = await self._loop.create_server(self._make_protocol, sock=sock, backlog=BACKLOG)
        self._servers.append(server)

    async def _take(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, connection)
        except OSError as error:
            log.debug("a connection was lost before it was taken: %s", error)

    def _started(self, task: asyncio.Task[None]) -> None:
        self._starting.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("cannot listen on a socket", exc_info=task.exception())

    def close(self) -> None:
        """Stop accepting, but for what waits already; connections that are open stay.

        It is done in the loop's next turn: a connection that asyncio has accepted gets its
        transport there, and would be lost without an answer if its server were closed by then.
        """
        for task in self._starting:
            task.cancel()
        for sock in self._sockets:
            self._loop.remove_reader(sock)
        self._loop.call_soon(self._close)

    def _close(self) -> None:
        waiting = [connection for sock in self._sockets for connection, _ in accept_waiting(sock)]
        if self._tls is not None:
            self._tls.close(waiting)
        else:
            for connection in waiting:
                task = self._loop.create_task(self._take(connection))
                self._taking.add(task)
                task.add_done_callback(self._taking.discard)
        for server in self._servers:
            server.close()
        for sock in self._sockets:
            sock.close()
        self._servers.clear()
        self._sockets.clear()


def accept_waiting(sock: socket.socket) -> Iterator[tuple[socket.socket, Any]]:
    """Accept the connections that wait for a listening socket, each with its address.

    The kernel resets those that still wait when the socket is closed. Does not block.
    """
    for _ in range(BACKLOG):
        try:
            sock.setblocking(False)
            connection, address = sock.accept()
        except OSError:  # there is none, or the socket is closed
            return
        connection.setblocking(False)
        yield connection, address
