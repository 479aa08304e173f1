"""The codec and the handshake over real sockets, with the `websockets` library as the client."""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from flasknado import HTTPServer
from tests.protocol_servers import websocket_echo
from tests.support.serving import Serving, serving

HEADERS = {
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.fixture(params=["llhttp", "tornado"])
def served(request: pytest.FixtureRequest) -> Iterator[Serving]:
    handlers = [(r"/.*", websocket_echo.EchoHandler)]
    with serving(lambda: HTTPServer(None, handlers=handlers, http=request.param)) as served:
        yield served


@pytest.fixture
def client(served: Serving) -> Iterator[ClientConnection]:
    with connect(f"ws://127.0.0.1:{served.port}", max_size=None, open_timeout=15) as client:
        yield client


def open_with(served: Serving, **changed: str | None) -> http.client.HTTPResponse:
    headers = dict(HEADERS)
    for name, value in changed.items():
        headers[name.replace("_", "-")] = value  # type: ignore[assignment]
    connection = http.client.HTTPConnection(*served.address, timeout=15)
    connection.request("GET", "/", headers={k: v for k, v in headers.items() if v is not None})
    response = connection.getresponse()
    connection.close()
    return response


def test_handshake_has_the_answer_of_the_rfc(served: Serving) -> None:
    response = open_with(served)
    assert response.status == 101
    assert response.headers["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert response.headers["Upgrade"] == "websocket"
    assert response.headers["Connection"] == "Upgrade"


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Sec_WebSocket_Version": "8"}, 426),
        ({"Sec_WebSocket_Version": None}, 426),
        ({"Sec_WebSocket_Key": "c2hvcnQ="}, 400),
        ({"Sec_WebSocket_Key": "not base64"}, 400),
        ({"Sec_WebSocket_Key": None}, 400),
        ({"Upgrade": None, "Connection": None}, 426),
    ],
)
def test_handshake_that_is_none_is_refused(
    served: Serving, changed: dict[str, str | None], status: int
) -> None:
    response = open_with(served, **changed)
    assert response.status == status
    if status == 426:
        assert response.headers["Upgrade"] == "websocket"


@pytest.mark.parametrize("message", ["", "größer", "x" * 70_000, b"", b"\0\xff", os.urandom(10**6)])
def test_message_comes_back(client: ClientConnection, message: str | bytes) -> None:
    client.send(message)
    assert client.recv(timeout=15) == message


def test_fragments_come_back_as_one_message(client: ClientConnection) -> None:
    client.send(iter(["a", "b", "", "c"]))
    assert client.recv(timeout=15) == "abc"


def test_ping_is_answered(client: ClientConnection) -> None:
    assert client.ping().wait(15)


def test_close_is_answered_with_its_code(client: ClientConnection) -> None:
    client.close(3333, "enough")
    assert client.protocol.close_rcvd is not None
    assert client.protocol.close_rcvd.code == 3333


def test_violation_is_closed_with_its_code(client: ClientConnection) -> None:
    client.socket.sendall(b"\xff\xff")
    with pytest.raises(ConnectionClosed):
        client.recv(timeout=15)
    assert client.protocol.close_rcvd is not None
    assert client.protocol.close_rcvd.code == 1002
