"""When TCP is closed: as soon as both sides have closed, and no later."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from flasknado.websocket import codec
from tests.flasknado.websocket.frames import client_frame
from tests.protocol_servers import websocket_echo
from tests.support.poll import poll
from tests.support.raw import connect, statuses
from tests.support.serving import Serving, serving

HANDSHAKE = (
    b"GET %b HTTP/%b\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
CLOSE = client_frame(codec.CLOSE, b"\x03\xe8")
FOR_EVER_S = 600.0


@pytest.fixture(params=["llhttp", "tornado"])
def served(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    monkeypatch.setattr(websocket_echo, "GOODBYE_TIMEOUT_S", FOR_EVER_S)
    with serving(lambda: websocket_echo.server(request.param)) as served:
        yield served


def opened(served: Serving, path: bytes = b"/") -> socket.socket:
    sock = connect(served.address)
    sock.sendall(HANDSHAKE % (path, b"1.1"))
    said = b""
    while b"\r\n\r\n" not in said:
        said += sock.recv(1)
    assert statuses(said) == [101]
    return sock


def read_until(sock: socket.socket, wanted: bytes) -> bytes:
    said = b""
    while wanted not in said:
        part = sock.recv(65536)
        assert part, f"closed after {said!r}"
        said += part
    return said


def is_closed(sock: socket.socket) -> bool:
    """Whether the server has closed altogether, and not only said that it sends no more."""
    try:
        sock.sendall(client_frame(codec.PING))
    except ConnectionError:
        return True
    return False


@pytest.mark.parametrize("path", [b"/", b"/tornado"])
def test_client_that_closes_is_answered_and_tcp_closes(served: Serving, path: bytes) -> None:
    with opened(served, path) as sock:
        sock.sendall(CLOSE)
        assert read_until(sock, b"\x03\xe8") == b"\x88\x02\x03\xe8"
        assert sock.recv(100) == b""
        poll(lambda: is_closed(sock))


@pytest.mark.parametrize("half_close", [True, False], ids=["tcp", "as under tls"])
def test_violation_is_closed_once_the_client_has_answered(
    served: Serving, half_close: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not half_close:
        monkeypatch.setattr(websocket_echo, "shut_down_writing", lambda stream: None)
    with opened(served) as sock:
        sock.sendall(b"\xf1\x81\0\0\0\0a" + client_frame(codec.TEXT, b"late"))
        read_until(sock, b"\x03\xea")  # 1002
        sock.sendall(CLOSE)
        while sock.recv(1000):
            pass
        poll(lambda: is_closed(sock))


def test_violation_is_closed_when_a_client_closes_whose_answer_cannot_be_found(
    served: Serving,
) -> None:
    with opened(served) as sock:
        sock.sendall(b"\x82\xff" + (1 << 40).to_bytes(8, "big") + b"\0\0\0\0")
        read_until(sock, b"\x03\xf1")  # 1009
        sock.sendall(CLOSE)
        while sock.recv(1000):
            pass  # it sees the end, which the server sends by itself
        sock.shutdown(socket.SHUT_WR)
        if served.server.layer == "llhttp":
            poll(lambda: served.server.counters.connections_open == 0)
        poll(lambda: is_closed(sock))


@pytest.mark.parametrize("path", [b"/", b"/tornado"])
@pytest.mark.parametrize("kind", [codec.TEXT, codec.BINARY])
def test_message_in_very_many_fragments_comes_back(served: Serving, path: bytes, kind: int) -> None:
    """Autobahn's cases 9.3.1 and 9.4.1, an eighth of them."""
    begin = client_frame(kind, b"*" * 64, final=False)
    more = client_frame(codec.CONTINUATION, b"*" * 64, final=False)
    end = client_frame(codec.CONTINUATION, b"*" * 64)
    size = 512 * 1024
    with opened(served, path) as sock:
        sock.sendall(begin + more * (size // 64 - 2) + end)
        said = b""
        while len(said) < size + 10:
            said += sock.recv(1 << 18)
    assert said == codec.frame(kind, b"*" * size)


@pytest.mark.parametrize("path", [b"/", b"/tornado"])
def test_handshake_in_http_1_0_is_not_answered_101(served: Serving, path: bytes) -> None:
    """RFC 9110, section 7.8: the Upgrade field is ignored; RFC 6455, 4.1: 1.1 is the least."""
    with connect(served.address) as sock:
        sock.sendall(HANDSHAKE % (path, b"1.0"))
        said = b""
        while part := sock.recv(1000):
            said += part
    assert statuses(said) == [426 if path == b"/" else 400]
