"""Thousands of event streams that come back with their last id: one process on epoll.

python -m loadtests.bench.live_returners PORT COUNT

Prints `ready` when all are connected. Then it does what each line says (`storm`, `deploy`) and
prints what it measured as JSON. Nobody else may publish, so every client must see each offset.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import resource
import select
import socket
import statistics
import sys
import time
from collections.abc import Callable

from loadtests.bench.live_clients import BURST_EVENTS, HOST, answer_commands, publication

STORM_TIMEOUT_S = 60.0
DEPLOY_TIMEOUT_S = 100.0
PUBLISH_EVERY_S = 0.25
_READ_BYTES = 65536
_HEAD, _, _BODY = publication("flasknado", "bench").partition(b"\r\n\r\n")
_FIELDS = {
    name.decode(): value.decode()
    for name, _, value in (line.partition(b": ") for line in _HEAD.split(b"\r\n")[1:])
    if name in (b"Authorization", b"Content-Type")
}
# One block of the stream: an id, and if it is of an event of the log, what follows.
_ID = re.compile(rb"id: ([0-9A-Za-z]+:([0-9]+)[^\n]*)\n(event: tick\n)?")


class Returner:
    """One client: its socket, its last id, and whether it has seen every offset once."""

    __slots__ = ("away_since", "last_id", "offset", "returns", "sock", "tail", "wrong")

    def __init__(self) -> None:
        self.sock: socket.socket | None = None
        self.last_id = b""
        self.offset: int | None = None
        self.tail = b""
        self.wrong = 0
        self.returns = 0
        self.away_since = 0.0

    def take(self, data: bytes) -> None:
        """Read what came, up to the last complete block."""
        data = self.tail + data
        end = data.rfind(b"\n\n") + 2
        whole, self.tail = (data[:end], data[end:]) if end > 1 else (b"", data)
        for match in _ID.finditer(whole):
            offset = int(match[2])
            if self.offset is None:
                self.offset = offset
            elif match[3] is not None:
                self.wrong += offset != self.offset + 1
                self.offset = offset
            elif offset != self.offset:
                # The head that a heartbeat tells may not be beyond what was delivered.
                self.wrong += 1
            self.last_id = match[1]
        self.wrong += whole.count(b"event: reset")


class Returners:
    """All the clients of one server."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._epoll = select.epoll()
        self._by_file: dict[int, Returner] = {}
        self.clients = [Returner() for _ in range(count)]
        self.aways: list[float] = []
        self.head = 0

    def connect(self, client: Returner) -> None:
        """Begin to connect; the request goes when the connection is there."""
        sock = client.sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex((HOST, self._port))
        client.tail = b""
        self._by_file[sock.fileno()] = client
        self._epoll.register(sock, select.EPOLLOUT)

    def cut(self, client: Returner) -> None:
        """Close a client's connection, if it has one."""
        sock, client.sock = client.sock, None
        if sock is not None:
            self._epoll.unregister(sock)
            del self._by_file[sock.fileno()]
            sock.close()
            client.away_since = time.monotonic()

    def publish(self, events: int) -> None:
        """Publish one by one and note the log's new head."""
        connection = http.client.HTTPConnection(HOST, self._port, timeout=STORM_TIMEOUT_S)
        with contextlib.closing(connection):
            for _ in range(events):
                connection.request("POST", "/live/publish", _BODY, _FIELDS)
                answer = json.loads(connection.getresponse().read())
                self.head = int(answer["cursor"].partition(":")[2])

    def turn(self, timeout_s: float) -> None:
        """Do what the sockets are ready for; who is closed connects again at once."""
        for file, events in self._epoll.poll(timeout_s):
            client = self._by_file.get(file)
            if client is None or client.sock is None:
                continue
            try:
                if events & select.EPOLLOUT:
                    self._ask(client)
                    continue
                data = client.sock.recv(_READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if data:
                self._read(client, data)
            else:
                self.cut(client)
                client.returns += 1
                self.connect(client)

    def _ask(self, client: Returner) -> None:
        assert client.sock is not None
        field = b"Last-Event-ID: %b\r\n" % client.last_id if client.last_id else b""
        request = b"GET /live/events?channel=bench HTTP/1.0\r\nHost: localhost\r\n%b\r\n" % field
        client.sock.sendall(request)
        self._epoll.modify(client.sock, select.EPOLLIN)

    def _read(self, client: Returner, data: bytes) -> None:
        if client.away_since:
            self.aways.append(time.monotonic() - client.away_since)
            client.away_since = 0.0
        client.take(data)

    def until(self, done: Callable[[Returner], bool], timeout_s: float, *, publish: bool) -> int:
        """Go on until all are done, publishing now and then if told to; returns who is not."""
        ends = time.monotonic() + timeout_s
        publish_at = time.monotonic()
        waiting = list(self.clients)
        while waiting and time.monotonic() < ends:
            if publish and time.monotonic() >= publish_at:
                publish_at = time.monotonic() + PUBLISH_EVERY_S
                # While the listeners change hands a connection may be refused or cut.
                with contextlib.suppress(OSError, http.client.HTTPException):
                    self.publish(1)
            self.turn(0.05)
            waiting = [client for client in waiting if not done(client)]
        return len(waiting)

    def caught_up(self, client: Returner) -> bool:
        """Return whether a client is connected and has the log's last event."""
        return client.sock is not None and client.offset == self.head

    def wrongs(self) -> int:
        """Return how many events were missing, doubled or out of order since last asked."""
        wrong = sum(client.wrong for client in self.clients)
        for client in self.clients:
            client.wrong = 0
        return wrong


def storm(returners: Returners) -> dict[str, float]:
    """Cut all, publish, and have all come back in the same moment."""
    for client in returners.clients:
        returners.cut(client)
    returners.publish(BURST_EVENTS)
    began = time.monotonic()
    for client in returners.clients:
        returners.connect(client)
    left = returners.until(returners.caught_up, STORM_TIMEOUT_S, publish=False)
    return {"seconds": time.monotonic() - began, "failures": left + returners.wrongs()}


def deploy(returners: Returners) -> dict[str, float]:
    """Publish while the server reloads, until all have been away and have everything."""
    for client in returners.clients:
        client.returns = 0
    returners.aways.clear()
    began = time.monotonic()
    left = returners.until(lambda client: client.returns > 0, DEPLOY_TIMEOUT_S, publish=True)
    returners.publish(1)
    left += returners.until(returners.caught_up, STORM_TIMEOUT_S, publish=False)
    aways = returners.aways
    return {
        "seconds": time.monotonic() - began,
        "away_p99_s": statistics.quantiles(aways, n=100)[98] if len(aways) > 1 else 0.0,
        "failures": left + returners.wrongs(),
    }


PHASES = {"storm": storm, "deploy": deploy}


def main(port: int, count: int) -> int:
    """Connect, say so, and measure what is asked for until the input ends."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    returners = Returners(port, count)
    returners.publish(1)
    for client in returners.clients:
        returners.connect(client)
    if returners.until(returners.caught_up, STORM_TIMEOUT_S, publish=False):
        return 1
    answer_commands(lambda command: PHASES[command](returners))
    # Closing thousands of sockets one by one is nobody's concern.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
