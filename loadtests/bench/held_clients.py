"""Clients whose answers stay open, in a process of their own.

python -m loadtests.bench.held_clients PORT PATH COUNT

Asks so many times for a path, as a WebSocket if it is `/socket`, prints `ready` when each has
begun, reads what comes until the end of its input, and prints how many are still open.
"""

from __future__ import annotations

import resource
import selectors
import socket
import sys
import time

HOST = "127.0.0.1"
TIMEOUT_S = 60
READ_INTERVAL_S = 0.2
SOCKET = "/socket"
_UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def ask(port: int, path: str) -> socket.socket:
    """Return a connection on which a path has been asked for."""
    connection = socket.create_connection((HOST, port), TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    more = _UPGRADE if path == SOCKET else ""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: loadtest.example\r\n{more}\r\n".encode())
    return connection


def begun(connection: socket.socket, path: str) -> socket.socket:
    """Wait until the answer has begun; raises `OSError` if it is another one."""
    status, first = (b"101", b"\r\n\r\n") if path == SOCKET else (b"200", b"data: part")
    received = b""
    while first not in received:
        more = connection.recv(4096)
        received += more
        if not more or not b"HTTP/1.1 ".startswith(received[:9]) or received[9:12] not in status:
            raise ConnectionResetError(f"not the answer that was expected: {received[:100]!r}")
    return connection


def main(port: int, path: str, count: int) -> None:
    """Hold the answers until standard input ends."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asked = [ask(port, path) for _ in range(count)]
    with selectors.DefaultSelector() as selector:
        for connection in asked:
            selector.register(begun(connection, path), selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        still_open = count
        while True:
            ready = [key.fileobj for key, _ in selector.select()]
            if sys.stdin in ready:
                break
            for readable in ready:
                if isinstance(readable, socket.socket) and not readable.recv(65536):
                    selector.unregister(readable)
                    still_open -= 1
            # It shares a processor with what measures, and reads thousands of parts a second.
            time.sleep(READ_INTERVAL_S)
    sys.stdout.write(f"{still_open}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
