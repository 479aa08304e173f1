"""Files sent by the kernel: whole, in step with what follows, and given up with their client."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import flask
import pytest

from flasknado import HTTPServer, WSGIContainer
from flasknado.http.limits import Limits
from flasknado.wsgi import sendfile
from tests.support.poll import poll
from tests.support.serving import Serving, serving

CONTENT = os.urandom(8 * 1024 * 1024)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def sent_by_kernel(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of bytes that went past Python, one for each file."""
    sizes: list[int] = []

    def counting(*arguments: int, **options: object) -> int:
        size = real(*arguments, **options)  # type: ignore[arg-type]
        sizes.append(size)
        return size

    real = sendfile.send_file
    monkeypatch.setattr("flasknado.wsgi.exchange.send_file", counting)
    return sizes


@contextlib.contextmanager
def serve(file: Path, layer: str = "llhttp", limits: Limits | None = None) -> Iterator[Serving]:
    app = flask.Flask("files")

    @app.get("/file")
    def whole() -> flask.Response:
        return flask.send_file(file)

    @app.get("/")
    def index() -> str:
        return "next"

    def make() -> HTTPServer:
        return HTTPServer(WSGIContainer(app, threads=2), http=layer, limits=limits)

    with serving(make) as server:
        yield server


def threads_are_free(server: Serving) -> bool:
    container = server.server.container
    assert container is not None
    return container.pool.idle


def request(path: str, *fields: str, close: bool = True) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: a", *fields, *(["Connection: close"] if close else [])]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read_all(client: socket.socket) -> bytes:
    parts = []
    while part := client.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def test_file_sent_by_the_kernel_is_whole_and_the_next_response_in_step(
    file: Path, sent_by_kernel: list[int]
) -> None:
    with serve(file) as server, socket.create_connection(server.address, timeout=30) as client:
        client.sendall(request("/file", close=False) + request("/file", close=False) + request("/"))
        answer = read_all(client)
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(CONTENT) in head
    assert rest[: len(CONTENT)] == CONTENT
    rest = rest[len(CONTENT) :].partition(b"\r\n\r\n")[2]
    assert rest[: len(CONTENT)] == CONTENT
    assert rest.endswith(b"\r\n\r\nnext")
    assert sent_by_kernel == [len(CONTENT)] * 2


def test_file_on_the_stock_layer_is_whole(file: Path, sent_by_kernel: list[int]) -> None:
    with (
        serve(file, "tornado") as server,
        socket.create_connection(server.address, timeout=30) as client,
    ):
        client.sendall(request("/file"))
        assert read_all(client).partition(b"\r\n\r\n")[2] == CONTENT
    assert sent_by_kernel == []


def test_range_of_a_file_is_what_was_asked_for(file: Path) -> None:
    with serve(file) as server, socket.create_connection(server.address, timeout=30) as client:
        client.sendall(request("/file", "Range: bytes=1000-5000999"))
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 206 ")
    assert answer.partition(b"\r\n\r\n")[2] == CONTENT[1000:5001000]


def test_file_to_a_client_that_leaves_is_closed(file: Path) -> None:
    with serve(file) as server:
        with socket.create_connection(server.address, timeout=30) as client:
            client.sendall(request("/file"))
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
        poll(lambda: threads_are_free(server))


def test_file_to_a_client_that_never_reads_is_given_up(file: Path) -> None:
    limits = Limits(write_timeout_s=0.6)
    with serve(file, limits=limits) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(30)
        client.connect(server.address)
        client.sendall(request("/file"))
        poll(lambda: not threads_are_free(server))
        poll(lambda: threads_are_free(server))
        with contextlib.suppress(ConnectionResetError):
            assert len(read_all(client)) < len(CONTENT)


def test_loan_that_cannot_be_duplicated_is_refused() -> None:
    loan = sendfile.SocketLoan()

    loan.grant(-1)

    assert loan.wait() is None


def test_file_sent_in_step_leaves_the_loop_free(file: Path) -> None:
    """While a file waits for its client, others are served."""
    with serve(file) as server, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(30)
        slow.connect(server.address)
        slow.sendall(request("/file"))
        assert slow.recv(100).startswith(b"HTTP/1.1 200 ")
        with socket.create_connection(server.address, timeout=30) as client:
            client.sendall(request("/"))
            assert read_all(client).endswith(b"next")
