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
    """Forwards connections on a port of its own to a Unix socket. May be used on any thread."""

    def __init__(self, upstream: Path) -> None:
        self._upstream = str(upstream)
        self._flowing = threading.Event()
        self._flowing.set()
        self._lost: list[threading.Event] = []
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

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
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._upstream)
                self._sockets += (client, server)
                for ends in ((client, server), (server, client)):
                    ways = (*ends, self._flowing)
                    threading.Thread(target=self._pump, args=ways, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, flowing: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE_BYTES):
                flowing.wait()
                target.sendall(data)
        flowing.wait()
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def silent_proxy(upstream: Path) -> Iterator[SilentProxy]:
    """Run a proxy until the block ends."""
    proxy = SilentProxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
