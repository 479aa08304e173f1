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
        self._closed = False
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

    def close(self) -> None:
        """End every connection."""
        self._closed = True
        self._flowing.set()
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
                for source, target in ((client, server), (server, client)):
                    pump = threading.Thread(target=self._pump, args=(source, target), daemon=True)
                    pump.start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE_BYTES):
                self._flowing.wait()
                target.sendall(data)
        self._flowing.wait()
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
