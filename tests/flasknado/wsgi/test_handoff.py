"""Responses that the loop goes on with after the view has ended, on both connection layers."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from flasknado import HTTPServer, WSGIContainer
from flasknado.wsgi.handoff import HANDOFF_KEY, SERVER_KEY, ConnectionHandoff
from tests.support.poll import poll
from tests.support.serving import Serving, serving

TYPE = "text/event-stream"


class App:
    """A WSGI application that registers a hand-off; `wrap` may change its response."""

    def __init__(self) -> None:
        self.status = "200 OK"
        self.headers = [("Content-Type", TYPE)]
        self.story: list[str] = []
        self.streams: list[tuple[Any, bool]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/plain":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"plain"]
        self.server = environ[SERVER_KEY]
        environ[HANDOFF_KEY] = ConnectionHandoff(TYPE, self.take)
        start_response(self.status, list(self.headers))
        return Body(self.story)

    def take(self, stream: Any, chunked: bool) -> None:
        self.story.append(f"taken on {threading.current_thread().name}")
        self.streams.append((stream, chunked))
        stream.write(b"5\r\nloop!\r\n" if chunked else b"loop!")


class Body:
    def __init__(self, story: list[str]) -> None:
        self.story = story

    def __iter__(self) -> Iterator[bytes]:
        self.story.append("iterated")
        yield b"generator"

    def close(self) -> None:
        self.story.append("closed")


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture(params=["llhttp", "tornado"])
def served(app: App, request: pytest.FixtureRequest) -> Iterator[Serving]:
    def server() -> HTTPServer:
        return HTTPServer(WSGIContainer(app, request_timeout_s=20), http=request.param)

    with serving(server) as served:
        yield served


@contextlib.contextmanager
def asked(
    served: Serving, path: str = "/", method: str = "GET"
) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(*served.address, timeout=15)
    connection.request(method, path)
    with contextlib.closing(connection), connection.getresponse() as response:
        yield response


def test_connection_is_taken_after_the_response_was_closed(app: App, served: Serving) -> None:
    with asked(served) as response:
        assert response.read(5) == b"loop!"
        assert app.story == ["closed", "taken on serving"]
        assert app.server is served.server
        assert response.headers["Content-Type"] == TYPE
        assert response.headers["Connection"] == "close"
        stream, chunked = app.streams[0]
        assert chunked
        served.on_loop(lambda: stream.write(b"4\r\nmore\r\n0\r\n\r\n"))
        assert response.read() == b"more"
    served.on_loop(stream.close)


def test_client_of_http_1_0_is_not_sent_chunks(app: App, served: Serving) -> None:
    with socket.create_connection(served.address, timeout=15) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        data = b""
        while not data.endswith(b"loop!"):
            data += client.recv(1000)
        assert b"chunked" not in data.lower()
        served.on_loop(app.streams[0][0].close)
        assert client.recv(1000) == b""


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("404 Not Found", [("Content-Type", TYPE)]),
        ("200 OK", [("Content-Type", "text/html")]),
        ("200 OK", [("Content-Type", TYPE), ("Content-Encoding", "gzip")]),
        ("200 OK", [("Content-Type", TYPE), ("Content-Length", "9")]),
    ],
)
def test_response_that_was_changed_is_iterated(
    app: App, served: Serving, status: str, headers: list[tuple[str, str]]
) -> None:
    app.status, app.headers = status, headers
    with asked(served) as response:
        assert response.read() == b"generator"
    # The client has its answer before the thread has closed the response.
    poll(lambda: app.story == ["iterated", "closed"])


def test_head_request_is_answered_without_a_hand_off(app: App, served: Serving) -> None:
    with asked(served, method="HEAD") as response:
        assert (response.status, response.read()) == (200, b"")
    assert app.streams == []


def test_connections_that_were_taken_are_waited_for_by_no_drain(app: App, served: Serving) -> None:
    with asked(served) as response:
        response.read(5)
        assert poll(lambda: served.server.counters.in_flight, until=lambda count: count == 0) == 0
        served.on_loop(app.streams[0][0].close)
    with asked(served, "/plain") as response:
        assert response.read() == b"plain"


def test_request_pipelined_behind_a_taken_connection_is_forgotten(
    app: App, served: Serving
) -> None:
    with socket.create_connection(served.address, timeout=15) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /plain HTTP/1.1\r\nHost: x\r\n\r\n")
        data = b""
        while b"loop!" not in data:
            data += client.recv(1000)
        served.on_loop(app.streams[0][0].close)
        while part := client.recv(1000):
            data += part
        assert b"plain" not in data
    poll(lambda: served.server.counters.in_flight, until=lambda count: count == 0)
