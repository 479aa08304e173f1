"""What one connection may do in one turn of the loop, whatever its client sends at once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import pytest
from tornado.web import RequestHandler, stream_request_body

from flasknado import HTTPServer, WSGIContainer
from flasknado.http.connection import HEAD_SLICE_BYTES, REQUEST_WORK, WORK_PER_TURN
from tests.flasknado.site import LOOPS
from tests.support.raw import connect, statuses
from tests.support.serving import Serving, serving

REQUESTS_PER_TURN = WORK_PER_TURN // REQUEST_WORK
CHUNK = b"1\r\nx\r\n"
CHUNKS_PER_TURN = 2 * (WORK_PER_TURN + HEAD_SLICE_BYTES // len(CHUNK))
"""It ends with the slice in which the work is used up; what then comes first belongs to the next
turn, and the loop's own count may not."""

counted = 0


class Counting(RequestHandler):
    """Counts its requests."""

    def get(self) -> None:
        global counted
        counted += 1
        self.write(str(counted))


@stream_request_body
class Taking(RequestHandler):
    """Counts the bytes of a body, which here are chunks."""

    def data_received(self, chunk: bytes) -> None:
        global counted
        counted += len(chunk)

    def post(self) -> None:
        self.write(str(counted))


def application(environ: object, start_response: Callable[..., object]) -> list[bytes]:
    body = environ["wsgi.input"].read()  # type: ignore[index]
    start_response("200 OK", [("Content-Length", str(len(str(len(body)))))])
    return [str(len(body)).encode()]


@pytest.fixture
def served(layer: str) -> Iterator[Serving]:
    global counted
    counted = 0
    handlers = [("/count", Counting), ("/take", Taking)]
    with serving(
        lambda: HTTPServer(
            WSGIContainer(application, threads=2), handlers=handlers, http=layer.partition("-")[0]
        ),
        new_loop=LOOPS[layer],
    ) as served:
        yield served


class Turns:
    """The most that was counted in one turn of a loop."""

    def __init__(self) -> None:
        self.most = 0
        self.before = 0

    def tick(self) -> None:
        self.most = max(self.most, counted - self.before)
        self.before = counted
        self.next = asyncio.get_running_loop().call_soon(self.tick)


@contextlib.contextmanager
def turns(served: Serving) -> Iterator[Turns]:
    watched = Turns()
    served.on_loop(watched.tick)
    yield watched
    served.on_loop(lambda: watched.next.cancel())


def answers(sock: socket.socket, number: int) -> bytes:
    said = b""
    while len(statuses(said)) < number or not said[-1:].isdigit():
        part = sock.recv(65536)
        assert part, said[-1000:]
        said += part
    return said


def test_pipelined_requests_are_divided_into_turns_and_all_answered(served: Serving) -> None:
    number = 1000
    with turns(served) as watched, connect(served.address) as sock:
        sock.sendall(b"GET /count HTTP/1.1\r\nHost: a\r\n\r\n" * number)
        said = answers(sock, number)
    assert statuses(said) == [200] * number
    assert said.endswith(b"\r\n\r\n1000")
    assert watched.most <= REQUESTS_PER_TURN


def test_tiny_chunks_are_divided_into_turns_and_all_arrive(served: Serving, layer: str) -> None:
    number = 40_000
    with turns(served) as watched, connect(served.address) as sock:
        sock.sendall(b"POST /take HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        sock.sendall(CHUNK * number + b"0\r\n\r\n")
        said = answers(sock, 1)
    assert said.endswith(b"40000")
    if layer != "tornado":  # whose parser joins them before a handler sees them
        assert watched.most <= CHUNKS_PER_TURN


def test_tiny_chunks_for_the_container_all_arrive(served: Serving) -> None:
    with connect(served.address) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        sock.sendall(CHUNK * 40_000 + b"0\r\n\r\n" + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        said = answers(sock, 4)
    assert said.count(b"\r\n\r\n40000HTTP/1.1") == 1


@pytest.mark.parametrize(
    "data",
    [
        b"GET /count HTTP/1.1\r\nHost: a\r\n\r\n" * 3000,
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3000,
        b"\r\n" * 60_000,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNK * 20_000,
    ],
    ids=["native requests", "ordinary requests", "blank lines", "chunks"],
)
def test_connection_stops_where_its_work_is_used_up(
    served: Serving, layer: str, data: bytes
) -> None:
    if layer == "tornado":
        pytest.skip("Tornado's own connections have no such count")
    with connect(served.address) as sock:
        sock.sendall(b"GET /count HTTP/1.1\r\nHost: a\r\n\r\n")
        answers(sock, 1)
        (connection,) = served.server._shared.connections  # type: ignore[union-attr]

        def give() -> tuple[int, bool]:
            connection.data_received(data)
            return connection._work, connection._reading_paused

        work, paused = served.on_loop(give)
    assert paused
    assert work < 3 * WORK_PER_TURN


def test_request_that_comes_after_a_full_turn_is_answered(served: Serving) -> None:
    with connect(served.address) as sock:
        for number in (REQUESTS_PER_TURN, 1, 2 * REQUESTS_PER_TURN, 1):
            sock.sendall(b"GET /count HTTP/1.1\r\nHost: a\r\n\r\n" * number)
            assert statuses(answers(sock, number)) == [200] * number


def test_client_that_leaves_in_the_middle_of_its_turns_is_forgotten(
    served: Serving, layer: str
) -> None:
    with connect(served.address) as sock:
        sock.sendall(b"GET /count HTTP/1.1\r\nHost: a\r\n\r\n" * 5000)
    with connect(served.address) as sock:
        sock.sendall(b"GET /count HTTP/1.1\r\nHost: a\r\n\r\n")
        answers(sock, 1)
