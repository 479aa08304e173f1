"""A client of Engine.IO, packet by packet, so that a test can say everything that one may."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.flasknado.live.helpers import wait_for
from tests.support.serving import Serving

DEADLINE_S = 15.0
PATIENT = {"ping_interval_s": 25.0, "ping_timeout_s": 20.0}
"""Heartbeats of a server that a test may keep waiting: none comes while it runs."""
OFTEN = {"ping_interval_s": 0.3, "ping_timeout_s": 20.0}
"""Heartbeats that come soon, and may be answered late."""
PING, PONG = "2", "3"


class Answer:
    """An HTTP response that has been read."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Requests:
    """Requests to the endpoint of a server, each on a connection of its own."""

    def __init__(self, serving: Serving, path: str = "/socket.io/") -> None:
        self.serving = serving
        self.path = path

    def target(self, **query: str) -> str:
        return f"{self.path}?{urlencode(query)}"

    def send(
        self,
        method: str = "GET",
        body: str | bytes | None = None,
        headers: dict[str, str] | None = None,
        **query: str,
    ) -> Answer:
        connection = http.client.HTTPConnection(*self.serving.address, timeout=DEADLINE_S)
        try:
            data = body.encode() if isinstance(body, str) else body
            connection.request(method, self.target(**query), data, headers or {})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def websocket(
        self, headers: dict[str, str] | None = None, origin: str | None = None, **query: str
    ) -> ClientConnection:
        query = {"EIO": "4", "transport": "websocket"} | query
        host, port = self.serving.address
        return connect(
            f"ws://{host}:{port}{self.target(**query)}",
            additional_headers=headers,
            origin=origin,  # type: ignore[arg-type]
            max_size=None,
            open_timeout=DEADLINE_S,
            compression=None,
        )

    def open(self, headers: dict[str, str] | None = None, **query: str) -> PollingSession:
        """Return a session on long-polling."""
        answer = self.send(headers=headers, EIO="4", transport="polling", **query)
        assert answer.status == 200, answer.text
        return PollingSession(self, json.loads(answer.text[1:])["sid"], headers)


class PollingSession:
    """A session on long-polling."""

    def __init__(self, requests: Requests, sid: str, headers: dict[str, str] | None) -> None:
        self.requests = requests
        self.sid = sid
        self.headers = headers

    def _send(self, method: str, body: str | bytes | None = None) -> Answer:
        return self.requests.send(
            method, body, self.headers, EIO="4", transport="polling", sid=self.sid
        )

    def poll(self) -> Answer:
        return self._send("GET")

    def post(self, body: str | bytes) -> Answer:
        return self._send("POST", body)

    def upgrade(self) -> ClientConnection:
        """Return a WebSocket that has not been probed."""
        return self.requests.websocket(self.headers, sid=self.sid)


def at_once(call: Callable[[], Answer]) -> Callable[[], Answer]:
    """Begin a call on a thread; the result waits for what it returns."""
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(call()), daemon=True)
    thread.start()

    def wait() -> Answer:
        thread.join(DEADLINE_S)
        return answers[0]

    return wait


def parked(session: PollingSession) -> Callable[[], Answer]:
    """Begin a poll and return once it waits at the server."""
    counters = session.requests.serving.server.counters
    wait_for(lambda: not counters.in_flight, "earlier requests have ended")
    answer = at_once(session.poll)
    wait_for(lambda: counters.in_flight, "the poll waits")
    return answer


def receive(websocket: ClientConnection) -> str | bytes:
    """Return the next packet."""
    return websocket.recv(DEADLINE_S)


def read_to_end(websocket: ClientConnection) -> list[str | bytes]:
    """Return what comes until the server closes."""
    received: list[str | bytes] = []
    try:
        while True:
            received.append(websocket.recv(DEADLINE_S))
    except ConnectionClosed:
        return received


def check_handshake(text: object, upgrades: list[str]) -> None:
    """Check an opening packet against the settings that the protocols' suites ask for."""
    assert isinstance(text, str)
    assert text.startswith("0")
    said = json.loads(text[1:])
    assert isinstance(said.pop("sid"), str)
    assert said == {
        "upgrades": upgrades,
        "pingInterval": 300,
        "pingTimeout": 200,
        "maxPayload": 1_000_000,
    }
