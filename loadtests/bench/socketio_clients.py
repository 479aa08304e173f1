"""Thousands of Socket.IO clients over WebSocket: one process on plain sockets and epoll.

python -m loadtests.bench.socketio_clients PORT COUNT

Connects, a few at a time, and prints `ready`. Then it does what each line says (`connected`,
`single`, `burst`, `echo`) and prints what it measured as JSON. As in `live_clients`, an event is
counted by a byte that is in nothing else.
"""

from __future__ import annotations

import base64
import os
import resource
import select
import socket
import statistics
import sys
import time

from loadtests.bench.live_clients import (
    HOST,
    TIMEOUT_S,
    Receivers,
    answer_commands,
    bursts,
    singles,
    warm_up,
)

CONNECTING = 64
"""How many clients are on their way at once."""
ROUND_TRIPS = 500
OPENING = "\r\n".join(
    [
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}",
        "",
        "",
    ]
).encode()
_READ_BYTES = 65536


def message(text: str) -> bytes:
    """Return a short text as a frame, masked with zeros (RFC 6455, section 5.3)."""
    data = text.encode()
    return bytes([0x81, 0x80 | len(data)]) + bytes(4) + data


class SocketIOClients(Receivers):
    """`count` clients of the namespace `/`; the first also publishes."""

    def __init__(self, port: int, count: int) -> None:
        super().__init__()
        self.per_event = count
        began = time.monotonic()
        self._connect(port, count)
        self.connects_per_second = count / (time.monotonic() - began)
        self.silent = set(self._sockets)
        self._first = next(iter(self._sockets.values()))

    def _connect(self, port: int, count: int) -> None:
        """Connect all; raises `OSError`."""
        begun = 0
        received: dict[int, bytes] = {}
        ends_at = time.monotonic() + TIMEOUT_S + count / 20
        while begun < count or received:
            while begun < count and len(received) < CONNECTING:
                sock = socket.create_connection((HOST, port), TIMEOUT_S)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.sendall(OPENING)
                self._sockets[sock.fileno()] = sock
                received[sock.fileno()] = b""
                self._epoll.register(sock, select.EPOLLIN)
                begun += 1
            for fd, _ in self._epoll.poll(1):
                self._advance(fd, received)
            if time.monotonic() > ends_at:
                raise TimeoutError(f"{len(received)} clients of {begun} were not connected in time")

    def _advance(self, fd: int, received: dict[int, bytes]) -> None:
        """Take what came to a client that is on its way: the handshake, then the namespace."""
        sock = self._sockets[fd]
        more = sock.recv(_READ_BYTES)
        before = received[fd]
        data = received[fd] = before + more
        if not more or not data.startswith(b"HTTP/1.1 101"[: len(data)]):
            raise ConnectionResetError(f"not the answer that was expected: {data[:200]!r}")
        handshake = b'"maxPayload"'
        if handshake in data and handshake not in before:
            sock.sendall(message("40"))
        elif b'40{"sid"' in data:
            del received[fd]
            sock.setblocking(False)

    def publish(self, events: int) -> None:
        self._say(f'42["publish",{events}]')

    def _say(self, text: str) -> None:
        self._first.setblocking(True)
        self._first.sendall(message(text))
        self._first.setblocking(False)

    def round_trips(self) -> dict[str, float]:
        """Have texts acknowledged, one after the other, by the server's handler."""
        times = []
        for _ in range(ROUND_TRIPS):
            began = time.perf_counter()
            self._say('421["echo","text"]')
            self._first.setblocking(True)
            if b'431["text"]' not in self._first.recv(_READ_BYTES):
                raise ConnectionResetError("the echo is another one")
            times.append(time.perf_counter() - began)
        return {"echo_us": 1e6 * statistics.median(times), "failures": self.closed}


def measure(clients: SocketIOClients, command: str) -> dict[str, float]:
    """Do what a command says."""
    if command == "connected":
        return {"connects_per_second": clients.connects_per_second, "failures": clients.closed}
    if command == "echo":
        return clients.round_trips()
    if clients.silent and not warm_up(clients):
        return {"failures": len(clients.silent)}
    return singles(clients) if command == "single" else bursts(clients)


def main(port: int, count: int) -> None:
    """Connect, say so, and measure what is asked for until the input ends."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    clients = SocketIOClients(port, count)
    answer_commands(lambda command: measure(clients, command))
    # Closing thousands of sockets one by one is nobody's concern.
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
