"""The socket of a request: taken plain and over TLS, by whoever finds it in the environ."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import selectors
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

from flasknado import HTTPServer, WSGIContainer
from flasknado.http.head import parse_head
from flasknado.http.limits import Limits
from flasknado.http.message import Finished
from flasknado.wsgi.request_socket import RequestSocket
from tests.support.poll import poll
from tests.support.programs import need
from tests.support.raw import connect, read_to_end
from tests.support.serving import Serving, serving

DEADLINE_S = 20.0
ASK = b"GET /talk HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
Talk = Callable[[Any, dict[str, Any]], object]


class Site:
    """A WSGI application that has one conversation, and pages beside it."""

    def __init__(self) -> None:
        self.talk: Talk = lambda sock, environ: None
        self.ends: list[BaseException | None] = []
        self.environ: dict[str, Any] = {}
        self.let_go = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] != "/talk":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"a page"]
        self.environ = environ
        error: BaseException | None = None
        try:
            self.talk(environ["werkzeug.socket"], environ)
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.ends.append(error)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"what nobody reads"]


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.let_go.set()


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    folder = tmp_path_factory.mktemp("tls")
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    command = [need("openssl"), *new, "-subj", "/CN=a", "-keyout", "key", "-out", "certificate"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(folder / "certificate", folder / "key")
    client = ssl.create_default_context()
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    return server, client


@pytest.fixture(autouse=True)
def prompt_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flasknado.wsgi.request_socket.LAST_WORD_S", 0.05)


@pytest.fixture(params=["plain", "tls"])
def secure(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "tls")


@pytest.fixture
def server(
    site: Site, secure: bool, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> Iterator[Serving]:
    def make() -> HTTPServer:
        container = WSGIContainer(site, threads=2, stream_threads=2)
        options = {"ssl_options": contexts[0]} if secure else {}
        limits = Limits(write_timeout_s=0.6)
        return HTTPServer(container, http="llhttp", limits=limits, **options)

    with serving(make, new_loop=uvloop.new_event_loop) as running:
        yield running
        site.let_go.set()


@pytest.fixture
def call(
    server: Serving, secure: bool, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> Iterator[Callable[..., socket.socket]]:
    """`call()` returns a new connection to the server."""
    with contextlib.ExitStack() as stack:

        def call(**options: Any) -> socket.socket:
            plain = connect(server.address, **options)
            sock = contexts[1].wrap_socket(plain) if secure else plain
            return stack.enter_context(sock)

        yield call


Call = Callable[..., socket.socket]


def counters_of(server: Serving) -> tuple[int, int]:
    counters = server.server.counters
    return counters.connections_open, counters.connections_upgraded


def read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        assert part, data
        data += part
    return data


def test_socket_is_taken_and_carries_bytes_both_ways(
    call: Call, server: Serving, site: Site
) -> None:
    content = os.urandom(1_000_000)

    def talk(sock: Any, environ: dict[str, Any]) -> None:
        assert environ["gunicorn.socket"] is sock
        sock.settimeout(DEADLINE_S)
        assert sock.gettimeout() == DEADLINE_S
        assert sock.recv(4) == b"ping"
        sock.send(b"pong")
        buffer = bytearray(4)
        assert sock.recv_into(buffer) == 4
        sock.sendall(bytes(buffer))
        sock.sendall(content)
        with sock.makefile("rb") as file:
            assert file.read(len(content)) == content

    site.talk = talk
    client = call()
    client.sendall(ASK)
    for word, answer in ((b"ping", b"pong"), (b"more", b"more")):
        client.sendall(word)
        assert read(client, 4) == answer
    assert read(client, len(content)) == content
    client.sendall(content)
    assert read_to_end(client) == b"", "the connection ends with the call"
    assert site.ends == [None]
    poll(lambda: counters_of(server) == (0, 0))


def test_look_at_the_socket_takes_nothing(call: Call, site: Site) -> None:
    looks: list[Any] = []

    def talk(sock: Any, environ: dict[str, Any]) -> None:
        assert "werkzeug.socket" in environ.copy()
        looks.append((sock.getpeername(), sock.getsockname(), bool(sock), repr(sock)))

    site.talk = talk
    client = call()
    client.sendall(ASK)
    answer = b""
    while not answer.endswith(b"what nobody reads"):
        answer += client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert looks[0][0] == client.getsockname()
    assert looks[0][1] == client.getpeername()
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"200 OK" in client.recv(4096)


def test_request_that_asks_for_no_upgrade_has_no_socket(call: Call, site: Site) -> None:
    client = call()
    client.sendall(ASK.replace(b"Upgrade: websocket\r\n", b""))
    assert b"500 Internal" in client.recv(4096)
    assert isinstance(site.ends[0], KeyError)


def test_selector_tells_when_there_is_something_to_read(call: Call, site: Site) -> None:
    events: list[Any] = []

    def talk(sock: Any, environ: dict[str, Any]) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_READ)
            events.append(selector.select(0))
            sock.sendall(b"go")
            events.append(len(selector.select(DEADLINE_S)))
        assert sock.recv(10) == b"something"

    site.talk = talk
    client = call()
    client.sendall(ASK)
    assert read(client, 2) == b"go"
    client.sendall(b"something")
    assert read_to_end(client) == b""
    assert (events, site.ends) == ([[], 1], [None])


def test_bytes_that_came_with_the_request_are_read_first(call: Call, site: Site) -> None:
    def talk(sock: Any, environ: dict[str, Any]) -> None:
        assert select.select([sock], [], [], DEADLINE_S)[0]
        with sock.makefile("rb") as file:
            sock.sendall(file.read(9).upper())

    site.talk = talk
    client = call()
    client.sendall(ASK + b"early")
    client.sendall(b"late")
    assert read(client, 9) == b"EARLYLATE"


def test_client_that_leaves_is_an_end(call: Call, server: Serving, site: Site) -> None:
    def talk(sock: Any, environ: dict[str, Any]) -> None:
        sock.sendall(b"hello")
        assert sock.recv(10) == b""

    site.talk = talk
    client = call()
    client.sendall(ASK)
    assert read(client, 5) == b"hello"
    client.close()
    poll(lambda: site.ends == [None])
    poll(lambda: counters_of(server) == (0, 0))


def test_application_that_closes_ends_the_connection(
    call: Call, server: Serving, site: Site
) -> None:
    def talk(sock: Any, environ: dict[str, Any]) -> None:
        with sock:
            sock.sendall(b"bye")
        assert sock.fileno() == -1
        sock.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            sock.recv(1)

    site.talk = talk
    client = call()
    client.sendall(ASK)
    assert read_to_end(client) == b"bye"
    poll(lambda: site.ends == [None])
    poll(lambda: counters_of(server) == (0, 0))


def test_close_that_fails_counts_the_connection_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(socket.socket):
        def close(self) -> None:
            super().close()
            raise OSError(errno.EBADF, "Bad file descriptor")

    class Left:
        socket = Failing()
        closed = sent_bytes = None

        def cut_off(self) -> None:
            raise AssertionError

    counted: list[int] = []
    left = Left()
    monkeypatch.setattr(left, "closed", counted.append)

    class Reply:
        def take_socket(self) -> Left:
            return left

    head = parse_head("GET", "/", "1.1", [(b"Host", b"a")])
    taken = RequestSocket(Reply(), head, lambda: None)  # type: ignore[arg-type]
    taken.setblocking(True)
    taken.close()
    assert counted == [0]


def test_client_that_reads_nothing_is_given_up(call: Call, site: Site) -> None:
    def talk(sock: Any, environ: dict[str, Any]) -> None:
        while True:
            sock.sendall(bytes(1 << 20))

    site.talk = talk
    client = call(receive_buffer_bytes=4096)
    client.sendall(ASK)
    poll(lambda: site.ends)
    assert isinstance(site.ends[0], OSError)


def test_sockets_hold_no_threads_of_the_pool_and_one_too_many_is_refused(
    call: Call, server: Serving, site: Site
) -> None:
    def talk(sock: Any, environ: dict[str, Any]) -> None:
        sock.sendall(b"in")
        site.let_go.wait(DEADLINE_S)

    site.talk = talk
    for _ in range(2):
        client = call()
        client.sendall(ASK)
        assert read(client, 2) == b"in"
    page = call()
    page.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"a page" in page.recv(4096)
    refused = call()
    refused.sendall(ASK)
    answer = refused.recv(4096)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1\r\n" in answer
    site.let_go.set()
    poll(lambda: server.server.container.streams.used == 0)  # type: ignore[union-attr]


def test_drain_tells_a_websocket_to_come_back_and_its_view_that_it_ended(
    call: Call, server: Serving, site: Site
) -> None:
    sent = threading.Event()  # in the middle of a send nothing is said

    def talk(sock: Any, environ: dict[str, Any]) -> None:
        sock.sendall(b"\x81\x02hi")
        sent.set()
        assert sock.recv(100) == b""

    site.talk = talk
    client = call()
    client.sendall(ASK)
    assert read(client, 4) == b"\x81\x02hi"
    assert sent.wait(20)
    container = server.server.container
    assert container is not None
    server.on_loop(lambda: server.loop.create_task(container.end_sockets(1.0)))
    assert read_to_end(client) == b"\x88\x15\x03\xf4the server restarts"
    assert site.ends == [None]


def test_drain_says_nothing_in_the_middle_of_a_frame(
    call: Call, server: Serving, site: Site
) -> None:
    """A socket that is no WebSocket's is not told anything either."""

    def talk(sock: Any, environ: dict[str, Any]) -> None:
        sock.sendall(b"hello")
        assert sock.recv(100) == b""

    site.talk = talk
    client = call()
    client.sendall(ASK.replace(b"websocket", b"morse"))
    assert read(client, 5) == b"hello"
    container = server.server.container
    assert container is not None
    server.on_loop(lambda: server.loop.create_task(container.end_sockets(1.0)))
    assert read_to_end(client) == b""


def test_hooks_are_told_of_a_conversation_once(call: Call, server: Serving, site: Site) -> None:
    finished: list[Finished] = []
    server.on_loop(lambda: server.server.counters.hooks.append(finished.append))
    site.talk = lambda sock, environ: sock.sendall(b"hello")
    client = call()
    client.sendall(ASK)
    assert read_to_end(client) == b"hello"
    assert [(each.status, each.head.path) for each in finished if each.head] == [(101, "/talk")]


def test_socket_is_closed_if_its_library_only_raises(
    call: Call, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    def talk(sock: Any, environ: dict[str, Any]) -> None:
        sock.sendall(b"done")
        raise StopIteration

    site.talk = talk
    client = call()
    client.sendall(ASK)
    assert read_to_end(client) == b"done"
    assert not caplog.records


def test_process_without_descriptors_answers_with_an_error_and_goes_on(
    call: Call, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*arguments: Any) -> Any:
        raise OSError(24, "Too many open files")

    site.talk = lambda sock, environ: sock.sendall(b"hello")
    client = call()
    with monkeypatch.context() as patch:
        patch.setattr("os.dup", none_left)
        patch.setattr("socket.socketpair", none_left)
        client.sendall(ASK)
        assert read_to_end(client) == b""
    poll(lambda: site.ends)
    assert isinstance(site.ends[0], OSError)
    page = call()
    page.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"a page" in page.recv(4096)
