"""A TCP proxy that can fall silent: it goes on accepting and acknowledging, and forwards nothing.

What its clients see is a server that hangs, or one behind a network that lost it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

PIECE_BYTES = 64 * 1024


class SilentProxy:
    """Forwards connections on a port of its own to `upstream`: a Unix socket, or host and port.

    May be used on any thread.
    """

    def __init__(self, upstream: Path | tuple[str, int]) -> None:
        self._upstream = upstream
        self._flowing = threading.Event()
        self._flowing.set()
        self._lost: list[threading.Event] = []
        self._sockets: list[socket.socket] = []
        self._ended = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def accepted(self) -> int:
        """How many connections there have been."""
        return len(self._sockets) // 2

    @property
    def open(self) -> int:
        """How many connections there are, of which neither end has closed its side."""
        return self.accepted - self._ended

    def silence(self) -> None:
        """Forward nothing from now on, in either direction."""
        self._flowing.clear()

    def resume(self) -> None:
        """Forward again, also what has come meanwhile."""
        self._flowing.set()

    def lose(self) -> None:
        """Forward nothing on the connections that there are, and everything on later ones."""
        self._flowing.clear()
        self._lost.append(self._flowing)
        self._flowing = threading.Event()
        self._flowing.set()

    def close(self) -> None:
        """End every connection."""
        for flowing in (self._flowing, *self._lost):
            flowing.set()
        for sock in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = self._connect()
                self._sockets += (client, server)
                ended = threading.Event()
                for ends in ((client, server), (server, client)):
                    ways = (*ends, self._flowing, ended)
                    threading.Thread(target=self._pump, args=ways, daemon=True).start()

    def _connect(self) -> socket.socket:
        if isinstance(self._upstream, tuple):
            return socket.create_connection(self._upstream)
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(self._upstream))
        return server

    def _pump(
        self,
        source: socket.socket,
        target: socket.socket,
        flowing: threading.Event,
        ended: threading.Event,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE_BYTES):
                flowing.wait()
                target.sendall(data)
        flowing.wait()
        with self._lock:
            self._ended += not ended.is_set()
            ended.set()
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def silent_proxy(upstream: Path | tuple[str, int]) -> Iterator[SilentProxy]:
    """Run a proxy until the block ends."""
    proxy = SilentProxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
