"""Thousands of live clients, and the publisher: one process on plain sockets and epoll.

python -m loadtests.bench.live_clients SERVER TRANSPORT PORT COUNT

Prints `ready` when all have had an event. Then it does what each line says (`single`, `burst`,
`at_once`) and prints what it measured as JSON. An event is counted by a byte that is in no other
part of any answer.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import select
import socket
import statistics
import sys
import time
from collections.abc import Callable

HOST = "127.0.0.1"
TOKEN = "a-token-for-benchmarks"
"""What may publish; the server listens on the loopback interface alone."""
MARK = b"^"
BURST_EVENTS = 20
BURSTS = 3
SINGLE_EVENTS = 10
TIMEOUT_S = 30.0
_READ_BYTES = 65536
_WARM_UPS = 10
_WARM_UP_S = 3.0

# As long as the envelope that flasknado puts around it makes its own.
_TEXT = '{"n": "^", "text": "' + "x" * 120 + '"}'
_ENVELOPED = '{"id": "0123456789:1", "channel": "bench", "event": "tick", "data": ' + _TEXT + "}"


def _get(path: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


def _post(path: str, body: str, *fields: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*head, "", body]).encode()


def _subscribe() -> bytes:
    """Return the message that subscribes, masked with zeros (RFC 6455, section 5.3)."""
    text = json.dumps({"type": "subscribe", "channels": ["bench"]}).encode()
    return bytes([0x81, 0x80 | len(text)]) + bytes(4) + text


_SOCKET = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}",
)
_JSON = "Content-Type: application/json"
OPENINGS = {
    ("flasknado", "sse"): _get("/live/events?channel=bench"),
    ("flasknado", "websocket"): _get("/live/socket", *_SOCKET) + _subscribe(),
    ("tornado", "sse"): _get("/live/events"),
    ("tornado", "websocket"): _get("/live/socket", *_SOCKET),
    ("nchan", "sse"): _get("/subscribe", "Accept: text/event-stream"),
    ("nchan", "websocket"): _get("/subscribe", *_SOCKET),
}
PUBLICATIONS = {
    "flasknado": _post(
        "/live/publish",
        json.dumps({"channel": "bench", "event": "tick", "data": json.loads(_TEXT)}),
        _JSON,
        f"Authorization: Bearer {TOKEN}",
    ),
    "tornado": _post("/publish", _ENVELOPED, _JSON),
    "nchan": _post("/publish", _ENVELOPED, _JSON),
}

_EVENT = {"channel": "bench", "event": "tick", "data": json.loads(_TEXT)}
PUBLICATIONS_AT_ONCE = {
    "flasknado": _post(
        "/live/publish",
        json.dumps({"events": [_EVENT] * BURST_EVENTS}),
        _JSON,
        f"Authorization: Bearer {TOKEN}",
    ),
}
"""A whole burst as one transaction, where the server has such a thing."""


class Clients:
    """`count` connections, and one more that publishes."""

    def __init__(self, server: str, transport: str, port: int, count: int) -> None:
        self._publication = PUBLICATIONS[server]
        self.burst_at_once = PUBLICATIONS_AT_ONCE.get(server)
        self._publisher = socket.create_connection((HOST, port), TIMEOUT_S)
        self._publisher.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        for _ in range(count):
            sock = socket.create_connection((HOST, port), TIMEOUT_S)
            sock.sendall(OPENINGS[server, transport])
            sock.setblocking(False)
            self._sockets[sock.fileno()] = sock
            self._epoll.register(sock, select.EPOLLIN)
        self.closed = 0
        self._buffer = bytearray(_READ_BYTES)
        self._sockets[self._publisher.fileno()] = self._publisher
        self._epoll.register(self._publisher, select.EPOLLIN)

    def publish(self, events: int) -> None:
        """Ask for so many events in one go; the answers are read with everything else."""
        self._send(self._publication * events)

    def _send(self, data: bytes) -> None:
        self._publisher.setblocking(True)
        self._publisher.sendall(data)
        self._publisher.setblocking(False)

    def publish_at_once(self) -> None:
        """Publish a burst as one transaction."""
        assert self.burst_at_once is not None
        self._send(self.burst_at_once)

    def receive(self, wanted: int, timeout_s: float, note: Callable[[int, float], None]) -> int:
        """Read until so many events have come; returns how many did.

        `note(events, at)` is told of each read that had some.
        """
        got = 0
        buffer = self._buffer
        ends = time.monotonic() + timeout_s
        while got < wanted:
            ready = self._epoll.poll(max(ends - time.monotonic(), 0))
            if not ready:
                break
            for fd, _ in ready:
                try:
                    size_bytes = self._sockets[fd].recv_into(buffer)
                except BlockingIOError:
                    continue
                except OSError:
                    size_bytes = 0
                if not size_bytes:
                    self._epoll.unregister(fd)
                    self.closed += 1
                elif events := buffer.count(MARK, 0, size_bytes):
                    got += events
                    note(events, time.monotonic())
        return got


def singles(clients: Clients, count: int) -> dict[str, float]:
    """Publish events, each after the last has reached everybody: rate and latency."""
    latencies: list[float] = []
    rates: list[float] = []
    lost = 0
    for _ in range(SINGLE_EVENTS):
        times: list[float] = []

        def note(events: int, at: float, times: list[float] = times) -> None:
            times.extend([at] * events)

        began = time.monotonic()
        clients.publish(1)
        lost += count - clients.receive(count, TIMEOUT_S, note)
        latencies.extend(at - began for at in times)
        rates.append(rate_of(len(times), times))
    percentiles = statistics.quantiles(latencies, n=100) if len(latencies) > 1 else [0.0] * 99
    return {
        "single_per_second": statistics.median(rates),
        "p50_ms": percentiles[49] * 1000,
        "p99_ms": percentiles[98] * 1000,
        "failures": lost + clients.closed,
    }


def bursts(clients: Clients, count: int) -> dict[str, float]:
    """Publish bursts of events, each committed on its own."""
    rate, lost = burst_rate(clients, count, lambda: clients.publish(BURST_EVENTS))
    return {"per_second": rate, "failures": lost + clients.closed}


def bursts_at_once(clients: Clients, count: int) -> dict[str, float]:
    """Publish bursts of events, each burst as one transaction, where the server has such."""
    if clients.burst_at_once is None:
        return {"failures": clients.closed}
    rate, lost = burst_rate(clients, count, clients.publish_at_once)
    return {"at_once_per_second": rate, "failures": lost + clients.closed}


PHASES = {"single": singles, "burst": bursts, "at_once": bursts_at_once}


def rate_of(events: int, times: list[float]) -> float:
    """Return the events a second between the first and the last arrival."""
    return events / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0


def burst_rate(clients: Clients, count: int, publish: Callable[[], None]) -> tuple[float, int]:
    """Return the median deliveries a second of some bursts, and how many were lost."""
    rates = []
    lost = 0
    wanted = count * BURST_EVENTS
    for _ in range(BURSTS):
        times: list[float] = []

        def note_time(_events: int, at: float, times: list[float] = times) -> None:
            times.append(at)

        publish()
        got = clients.receive(wanted, TIMEOUT_S, note_time)
        lost += wanted - got
        rates.append(rate_of(got, times))
    return statistics.median(rates), lost


def warm_up(clients: Clients, count: int) -> bool:
    """Publish until one event has reached everybody; whether it did."""
    for _ in range(_WARM_UPS):
        clients.publish(1)
        if clients.receive(count, _WARM_UP_S, lambda _events, _at: None) == count:
            return True
    return False


def answer_commands(measure: Callable[[str], dict[str, float]]) -> None:
    """Print `ready`, then what each line of the input has measured, until it ends."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        used_before, began = time.process_time(), time.monotonic()
        result = measure(line.strip())
        used = time.process_time() - used_before
        result["generator_percent"] = 100 * used / (time.monotonic() - began)
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


def main(server: str, transport: str, port: int, count: int) -> int:
    """Connect, say so, and measure what is asked for until the input ends."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    clients = Clients(server, transport, port, count)
    if not warm_up(clients, count):
        return 1
    answer_commands(lambda command: PHASES[command](clients, count))
    # Closing thousands of sockets one by one is nobody's concern.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
