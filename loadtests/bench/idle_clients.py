"""Thousands of connections that have asked once and then say nothing.

python -m loadtests.bench.idle_clients PORT COUNT

Prints `ready`, waits for the end of its input, and prints how many are still open.
"""

from __future__ import annotations

import resource
import socket
import sys

HOST = "127.0.0.1"
TIMEOUT_S = 20
REQUEST = b"GET / HTTP/1.1\r\nHost: loadtest.example\r\n\r\n"


def open_one(port: int) -> socket.socket:
    """Return a connection that has had one whole answer; raises `OSError`."""
    connection = socket.create_connection((HOST, port), TIMEOUT_S)
    connection.sendall(REQUEST)
    received = b""
    while b"Hello, World!" not in received:
        more = connection.recv(4096)
        if not more:
            raise ConnectionResetError("closed before the answer was there")
        received += more
    return connection


def is_open(connection: socket.socket) -> bool:
    """Whether the server has not closed it."""
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def main(port: int, count: int) -> None:
    """Hold the connections until standard input ends."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    connections = [open_one(port) for _ in range(count)]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    sys.stdout.write(f"{sum(map(is_open, connections))}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
