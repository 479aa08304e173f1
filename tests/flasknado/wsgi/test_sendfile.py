"""Files sent by the kernel: whole, in step with what follows, and given up with their client."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
import requests
import uvloop
from tornado.netutil import bind_sockets

from flasknado import HTTPServer, WSGIContainer
from flasknado.http.limits import Limits
from flasknado.wsgi import sendfile
from tests.support.poll import poll
from tests.support.programs import need
from tests.support.raw import connect
from tests.support.serving import Serving, serving

CONTENT = os.urandom(8 * 1024 * 1024)

Tls = tuple[ssl.SSLContext, ssl.SSLContext]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """What a server and its client need to speak TLS."""
    folder = tmp_path_factory.mktemp("tls")
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    name = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    command = [need("openssl"), *new, *name, "-keyout", "key", "-out", "certificate"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(folder / "certificate", folder / "key")
    return server, ssl.create_default_context(cafile=str(folder / "certificate"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def sent_by_kernel(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of bytes that the kernel has sent, one for each call."""
    sizes: list[int] = []

    def counting(*arguments: int) -> int:
        size = real(*arguments)
        sizes.append(size)
        return size

    real = os.sendfile
    monkeypatch.setattr("os.sendfile", counting)
    return sizes


@contextlib.contextmanager
def serve(
    file: Path, layer: str = "llhttp", limits: Limits | None = None, **options: Any
) -> Iterator[Serving]:
    app = flask.Flask("files")

    @app.get("/file")
    def whole() -> flask.Response:
        return flask.send_file(file)

    @app.get("/")
    def index() -> str:
        return "next"

    def make() -> HTTPServer:
        return HTTPServer(WSGIContainer(app, threads=2), http=layer, limits=limits, **options)

    new_loop = asyncio.new_event_loop if layer == "tornado" else uvloop.new_event_loop
    with serving(make, new_loop=new_loop) as server:
        yield server


def held_connection(server: Serving, *fields: str) -> socket.socket:
    """Return a connection on which a file has been asked for, and of which nothing is read."""
    client = connect(server.address, receive_buffer_bytes=4096)
    client.sendall(request("/file", *fields))
    return client


def open_files(file: Path) -> int:
    """Return how many descriptors of this process lead to a file."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            count += entry.readlink() == file
    return count


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
    assert sum(sent_by_kernel) == 2 * len(CONTENT)


def test_file_on_the_stock_layer_is_whole(file: Path, sent_by_kernel: list[int]) -> None:
    with (
        serve(file, "tornado") as server,
        socket.create_connection(server.address, timeout=30) as client,
    ):
        client.sendall(request("/file"))
        assert read_all(client).partition(b"\r\n\r\n")[2] == CONTENT
    assert sent_by_kernel == []


@pytest.mark.parametrize(
    "asked", [(1000, 5_000_999), (0, len(CONTENT) - 1), (7_000_000, len(CONTENT) - 1)]
)
def test_range_of_a_file_is_what_was_asked_for(
    file: Path, sent_by_kernel: list[int], asked: tuple[int, int]
) -> None:
    first, last = asked
    with serve(file) as server, socket.create_connection(server.address, timeout=30) as client:
        client.sendall(request("/file", f"Range: bytes={first}-{last}"))
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 206 ")
    assert answer.partition(b"\r\n\r\n")[2] == CONTENT[first : last + 1]
    assert sum(sent_by_kernel) == last + 1 - first


def test_file_that_is_known_already_is_not_sent(file: Path, sent_by_kernel: list[int]) -> None:
    with serve(file) as server:
        known = requests.head(server.url + "/file", timeout=30).headers["ETag"]
        answer = requests.get(server.url + "/file", headers={"If-None-Match": known}, timeout=30)
    assert (answer.status_code, answer.content) == (304, b"")
    assert sent_by_kernel == []


def test_file_over_tls_is_whole_and_holds_no_thread(file: Path, tls: Tls) -> None:
    server_context, client_context = tls
    with (
        serve(file, ssl_options=server_context) as server,
        connect(server.address) as plain,
        client_context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(request("/file", close=False))
        assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        poll(lambda: threads_are_free(server))
        client.sendall(request("/"))
        answer = read_all(client)
    assert CONTENT in answer
    assert answer.endswith(b"\r\n\r\nnext")


def test_a_hundred_clients_of_tls_that_read_nothing_hold_no_thread(file: Path, tls: Tls) -> None:
    server_context, client_context = tls
    with serve(file, ssl_options=server_context) as server, contextlib.ExitStack() as clients:
        for _ in range(100):
            plain = connect(server.address, receive_buffer_bytes=4096)
            client = clients.enter_context(
                client_context.wrap_socket(plain, server_hostname="localhost")
            )
            client.sendall(request("/file"))
        poll(lambda: server.server.counters.running["ordinary"] == 100)
        poll(lambda: threads_are_free(server))
        with (
            connect(server.address) as plain,
            client_context.wrap_socket(plain, server_hostname="localhost") as client,
        ):
            client.sendall(request("/"))
            assert read_all(client).endswith(b"\r\n\r\nnext")
        assert server.server.counters.running["ordinary"] == 100


@pytest.mark.parametrize("size_bytes", [65_537, 140_000, sendfile.LEAST_BYTES - 1])
def test_file_too_small_for_the_kernel_is_whole_and_holds_no_thread(
    tmp_path: Path, sent_by_kernel: list[int], size_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bind_with_little_room(*arguments: Any) -> list[socket.socket]:
        bound = bind_sockets(*arguments)
        for listener in bound:  # what it accepts has the same
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return bound

    monkeypatch.setattr("tests.support.serving.bind_sockets", bind_with_little_room)
    file = tmp_path / "small.bin"
    file.write_bytes(CONTENT[:size_bytes])
    with serve(file) as server, contextlib.ExitStack() as clients:
        for _ in range(20):
            clients.enter_context(held_connection(server))
        poll(lambda: server.server.counters.requests["ordinary"] == 20)
        poll(lambda: threads_are_free(server))
        with socket.create_connection(server.address, timeout=30) as client:
            client.sendall(request("/file"))
            head, _, body = read_all(client).partition(b"\r\n\r\n")
            assert b"Content-Length: %d" % size_bytes in head
            assert body == CONTENT[:size_bytes]
        with socket.create_connection(server.address, timeout=30) as client:
            client.sendall(request("/file", "Range: bytes=10-65009"))
            assert read_all(client).partition(b"\r\n\r\n")[2] == CONTENT[10:65010]
    assert sent_by_kernel == []


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_file_of_five_gigabytes_is_sent_from_any_place(
    tmp_path: Path, tls: Tls, secure: bool
) -> None:
    file = tmp_path / "huge.bin"
    size_bytes = 5 * 1024**3
    with file.open("wb") as sparse:
        sparse.seek(size_bytes - 1000)
        sparse.write(CONTENT[:1000])
    with serve(file, ssl_options=tls[0] if secure else None) as server:

        def ask(*fields: str) -> tuple[bytes, bytes]:
            with contextlib.ExitStack() as stack:
                client = stack.enter_context(connect(server.address))
                if secure:
                    wrapped = tls[1].wrap_socket(client, server_hostname="localhost")
                    client = stack.enter_context(wrapped)
                client.sendall(request("/file", *fields))
                said = b""
                while b"\r\n\r\n" not in said or (fields and len(said) < 400_000):
                    part = client.recv(65536)
                    if not part:
                        break
                    said += part
                head, _, body = said.partition(b"\r\n\r\n")
                return head, body

        head, _ = ask()
        assert b"Content-Length: %d" % size_bytes in head
        head, body = ask(f"Range: bytes={size_bytes - 300_000}-")
        assert b"Content-Range: bytes %d-" % (size_bytes - 300_000) in head
        assert body == bytes(299_000) + CONTENT[:1000]
        etag = next(line for line in head.split(b"\r\n") if line.startswith(b"ETag: "))
        head, _ = ask(f"If-None-Match: {etag[6:].decode()}")
        assert head.startswith(b"HTTP/1.1 304 ")


LAYERS_AND_FIELDS = [("llhttp", ()), ("llhttp", ("Range: bytes=5-",)), ("tornado", ())]


@pytest.mark.parametrize(("layer", "fields"), LAYERS_AND_FIELDS)
def test_a_hundred_clients_that_read_nothing_hold_no_thread(
    file: Path, layer: str, fields: tuple[str, ...]
) -> None:
    with serve(file, layer) as server, contextlib.ExitStack() as clients:
        for _ in range(100):
            clients.enter_context(held_connection(server, *fields))
        poll(lambda: server.server.counters.running["ordinary"] == 100)
        poll(lambda: threads_are_free(server))
        assert requests.get(server.url, timeout=30).text == "next"
        assert server.server.counters.running["ordinary"] >= 100


def test_files_to_clients_that_never_read_are_closed_when_those_are_cut_off(file: Path) -> None:
    with serve(file, limits=Limits(write_timeout_s=0.5)) as server:
        before = open_files(file)
        with contextlib.ExitStack() as clients:
            for _ in range(10):
                clients.enter_context(held_connection(server))
            poll(lambda: open_files(file) > before)
            poll(lambda: server.server.counters.connections_open == 0)
        poll(lambda: open_files(file), lambda count: count == before)


def test_file_that_is_not_in_memory_is_read_by_a_thread_and_whole(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def never(_file_fd: int, offset: int, _size: int) -> bool:
        asked.append(offset)
        return False

    monkeypatch.setattr(sendfile, "in_memory", never)
    with serve(file) as server:
        assert requests.get(server.url + "/file", timeout=60).content == CONTENT
    assert len(asked) >= len(CONTENT) // sendfile.BLOCK_BYTES


def test_client_that_leaves_while_its_file_is_read_lets_it_go(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def held_up(*arguments: int) -> bytes:
        reading.set()
        go_on.wait(30)
        return real(*arguments)

    real = os.pread
    monkeypatch.setattr(sendfile, "in_memory", lambda *_: False)
    monkeypatch.setattr("os.pread", held_up)
    with serve(file) as server:
        with held_connection(server):
            assert reading.wait(30)
        poll(lambda: server.server.counters.connections_open == 0)
        # Once the view's thread has closed the application's own, too.
        poll(lambda: open_files(file), lambda count: count == 1)
        go_on.set()
        poll(lambda: open_files(file), lambda count: count == 0)


def test_file_that_becomes_shorter_ends_the_connection(file: Path) -> None:
    with serve(file) as server, held_connection(server) as client:
        poll(lambda: threads_are_free(server) and open_files(file))
        os.truncate(file, 4_500_000)
        assert len(read_all(client)) < len(CONTENT)
        poll(lambda: open_files(file), lambda count: count == 0)


def test_file_whose_socket_cannot_be_duplicated_is_written_in_blocks(
    file: Path, monkeypatch: pytest.MonkeyPatch, sent_by_kernel: list[int]
) -> None:
    duplicated: list[int] = []

    def scarce(descriptor: int) -> int:
        duplicated.append(descriptor)
        if len(duplicated) == 2:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(descriptor)

    real = os.dup
    monkeypatch.setattr("os.dup", scarce)
    with serve(file) as server:
        assert requests.get(server.url + "/file", timeout=60).content == CONTENT
    assert sent_by_kernel == []


def test_whether_a_block_is_in_memory_is_asked_of_the_system(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answering(error: OSError | None) -> None:
        def answer(*_: object) -> int:
            if error is not None:
                raise error
            return 1

        monkeypatch.setattr("os.preadv", answer)

    with file.open("rb") as opened:
        assert sendfile.in_memory(opened.fileno(), 0, 1000)
        for error, expected in (
            (None, True),
            (BlockingIOError(errno.EAGAIN, "on disk"), False),
            (OSError(errno.EOPNOTSUPP, "no such thing here"), True),
        ):
            answering(error)
            assert sendfile.in_memory(opened.fileno(), 0, 1000) is expected


def test_file_to_a_client_that_leaves_is_closed(file: Path) -> None:
    with serve(file) as server:
        with socket.create_connection(server.address, timeout=30) as client:
            client.sendall(request("/file"))
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
        poll(lambda: threads_are_free(server))


def test_file_to_a_client_that_never_reads_is_given_up(file: Path) -> None:
    limits = Limits(write_timeout_s=0.6)
    with serve(file, limits=limits) as server, held_connection(server) as client:
        poll(lambda: server.server.counters.requests["ordinary"])
        poll(lambda: server.server.counters.connections_open == 0)
        with contextlib.suppress(ConnectionResetError):
            assert len(read_all(client)) < len(CONTENT)


def test_file_to_a_client_that_reads_slowly_goes_on(file: Path) -> None:
    limits = Limits(write_timeout_s=1, min_write_rate_bytes_s=1000)
    with serve(file, limits=limits) as server, held_connection(server) as client:
        answer = b""
        while len(answer) < 400_000:
            answer += client.recv(20_000)
            time.sleep(0.03)
        assert server.server.counters.connections_open == 1
        answer += read_all(client)
    assert answer.partition(b"\r\n\r\n")[2] == CONTENT


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
