"""Thousands of live clients, and the publisher: one process on plain sockets and epoll.

python -m loadtests.bench.live_clients SERVER TRANSPORT PORT COUNT [CHANNELS]

The clients are divided among the channels, of which there is one if nothing is said. Prints `ready`
when all have had an event. Then it does what each line says (`single`, `burst`, `at_once`) and
prints what it measured as JSON. An event is counted by a byte that is in no other part of any
answer. What stands behind a hyphen in SERVER only tells it from others of its kind.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import resource
import select
import socket
import statistics
import sys
import time
from abc import abstractmethod
from collections.abc import Callable

HOST = "127.0.0.1"
TOKEN = "a-token-for-benchmarks"
"""What may publish; the server listens on the loopback interface alone."""
MARK = b"^"
BURST_EVENTS = 20
BURSTS = 3
SINGLE_EVENTS = 10
SINGLE_EVENTS_OF_MANY = 200
"""With many channels, which have few clients each."""
TIMEOUT_S = 30.0
_READ_BYTES = 65536
_WARM_UPS = 10
_WARM_UP_S = 3.0
_QUIET_S = 0.3

# As long as the envelope that flasknado puts around it makes its own.
_TEXT = '{"n": "^", "text": "' + "x" * 120 + '"}'
_ENVELOPED = '{"id": "0123456789:1", "channel": "bench", "event": "tick", "data": ' + _TEXT + "}"


def _get(path: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


def _post(path: str, body: str, *fields: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*head, "", body]).encode()


def _subscribe(channel: str) -> bytes:
    """Return the message that subscribes, masked with zeros (RFC 6455, section 5.3)."""
    text = json.dumps({"type": "subscribe", "channels": [channel]}).encode()
    return bytes([0x81, 0x80 | len(text)]) + bytes(4) + text


_SOCKET = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}",
)
_JSON = "Content-Type: application/json"
_BEARER = f"Authorization: Bearer {TOKEN}"


def opening(server: str, transport: str, channel: str) -> bytes:
    """Return the request of a client of a channel."""
    field = _SOCKET if transport == "websocket" else ("Accept: text/event-stream",)
    if server == "nchan":
        return _get(f"/subscribe?channel={channel}", *field)
    path = "/live/socket" if transport == "websocket" else "/live/events"
    request = _get(f"{path}?channel={channel}", *field)
    return request + (_subscribe(channel) if (server, transport) == SAYS_WHAT else b"")


SAYS_WHAT = ("flasknado", "websocket")
"""Who is told the channel by a message."""


def publication(server: str, channel: str) -> bytes:
    """Return the request that publishes an event."""
    if server != "flasknado":
        return _post(f"/publish?channel={channel}", _ENVELOPED, _JSON)
    return _post("/live/publish", json.dumps(_event(channel)), _JSON, _BEARER)


def publication_at_once(server: str, channel: str) -> bytes | None:
    """Return the request that publishes a burst as one transaction, where there is such a thing."""
    if server != "flasknado":
        return None
    burst = json.dumps({"events": [_event(channel)] * BURST_EVENTS})
    return _post("/live/publish", burst, _JSON, _BEARER)


def _event(channel: str) -> dict[str, object]:
    return {"channel": channel, "event": "tick", "data": json.loads(_TEXT)}


class Receivers:
    """Connections that events come on, counted by their marks."""

    channels = 1
    per_event = 0
    """How many clients each event has."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self.closed = 0
        self.silent: set[int] = set()
        """The clients that have had no event yet."""
        self._buffer = bytearray(_READ_BYTES)

    @abstractmethod
    def publish(self, events: int) -> None:
        """Ask for so many events in one go, each on the next channel."""

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
                    self.silent.discard(fd)
                    note(events, time.monotonic())
        return got


class Clients(Receivers):
    """`count` connections to `channels` channels, and one more that publishes."""

    def __init__(self, server: str, transport: str, port: int, count: int, channels: int) -> None:
        super().__init__()
        kind = server.partition("-")[0]
        names = ["bench"] if channels == 1 else [f"bench:{number}" for number in range(channels)]
        self.channels = channels
        self.per_event = count // channels
        self._publications = itertools.cycle([publication(kind, name) for name in names])
        self.burst_at_once = publication_at_once(kind, names[0])
        self._publisher = socket.create_connection((HOST, port), TIMEOUT_S)
        self._publisher.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(self.per_event * channels):
            sock = socket.create_connection((HOST, port), TIMEOUT_S)
            sock.sendall(opening(kind, transport, names[number % channels]))
            sock.setblocking(False)
            self._sockets[sock.fileno()] = sock
            self._epoll.register(sock, select.EPOLLIN)
        self.silent = set(self._sockets)
        self._sockets[self._publisher.fileno()] = self._publisher
        self._epoll.register(self._publisher, select.EPOLLIN)

    def publish(self, events: int) -> None:
        """Ask for so many events in one go, each on the next channel.

        The answers are read with everything else, but for those of many events, which might fill
        the way back.
        """
        for begin in range(0, events, BURST_EVENTS):
            size = min(BURST_EVENTS, events - begin)
            self._send(b"".join(itertools.islice(self._publications, size)))
            if events > BURST_EVENTS:
                with contextlib.suppress(BlockingIOError):
                    self._publisher.recv_into(self._buffer)

    def _send(self, data: bytes) -> None:
        self._publisher.setblocking(True)
        self._publisher.sendall(data)
        self._publisher.setblocking(False)

    def publish_at_once(self) -> None:
        """Publish a burst as one transaction."""
        assert self.burst_at_once is not None
        self._send(self.burst_at_once)


def singles(clients: Receivers) -> dict[str, float]:
    """Publish events, each after the last has reached everybody: rate and latency."""
    latencies: list[float] = []
    rates: list[float] = []
    lost = 0
    wanted = clients.per_event
    for _ in range(SINGLE_EVENTS if clients.channels == 1 else SINGLE_EVENTS_OF_MANY):
        times: list[float] = []

        def note(events: int, at: float, times: list[float] = times) -> None:
            times.extend([at] * events)

        began = time.monotonic()
        clients.publish(1)
        lost += wanted - clients.receive(wanted, TIMEOUT_S, note)
        latencies.extend(at - began for at in times)
        rates.append(rate_of(len(times), times))
    percentiles = statistics.quantiles(latencies, n=100) if len(latencies) > 1 else [0.0] * 99
    return {
        "single_per_second": statistics.median(rates),
        "p50_ms": percentiles[49] * 1000,
        "p99_ms": percentiles[98] * 1000,
        "failures": lost + clients.closed,
    }


def bursts(clients: Receivers) -> dict[str, float]:
    """Publish bursts of events, each committed on its own; with many channels, one on each."""
    events = BURST_EVENTS if clients.channels == 1 else clients.channels
    rate, lost = burst_rate(clients, events, lambda: clients.publish(events))
    return {"per_second": rate, "failures": lost + clients.closed}


def bursts_at_once(clients: Clients) -> dict[str, float]:
    """Publish bursts of events, each burst as one transaction, where the server has such."""
    if clients.burst_at_once is None:
        return {"failures": clients.closed}
    rate, lost = burst_rate(clients, BURST_EVENTS, clients.publish_at_once)
    return {"at_once_per_second": rate, "failures": lost + clients.closed}


PHASES = {"single": singles, "burst": bursts, "at_once": bursts_at_once}


def rate_of(events: int, times: list[float]) -> float:
    """Return the events a second between the first and the last arrival."""
    return events / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0


def burst_rate(clients: Receivers, events: int, publish: Callable[[], None]) -> tuple[float, int]:
    """Return the median deliveries a second of some bursts, and how many were lost."""
    rates = []
    lost = 0
    wanted = events * clients.per_event
    for _ in range(BURSTS):
        times: list[float] = []

        def note_time(_events: int, at: float, times: list[float] = times) -> None:
            times.append(at)

        publish()
        got = clients.receive(wanted, TIMEOUT_S, note_time)
        lost += wanted - got
        rates.append(rate_of(got, times))
    return statistics.median(rates), lost


def warm_up(clients: Receivers) -> bool:
    """Publish until everybody has had an event, and let what is under way come; whether it did."""
    wanted = clients.channels * clients.per_event
    nothing = lambda _events, _at: None  # noqa: E731
    for _ in range(_WARM_UPS):
        clients.publish(clients.channels)
        clients.receive(wanted, _WARM_UP_S, nothing)
        if not clients.silent:
            while clients.receive(wanted, _QUIET_S, nothing):
                pass
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


def main(server: str, transport: str, port: int, count: int, channels: int = 1) -> int:
    """Connect, say so, and measure what is asked for until the input ends."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    clients = Clients(server, transport, port, count, channels)
    if not warm_up(clients):
        sys.stderr.write(f"{len(clients.silent)} of {count} clients had no event\n")
        return 1
    answer_commands(lambda command: PHASES[command](clients))
    # Closing thousands of sockets one by one is nobody's concern.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], *(int(number) for number in sys.argv[3:6])))
