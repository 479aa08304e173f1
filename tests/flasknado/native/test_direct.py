"""Native requests that a plain function serves, without Tornado's handlers."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tornado.web import RequestHandler

from flasknado import HTTPServer
from flasknado.http.message import Finished, RequestHead
from flasknado.native.direct import SHARED_FIELD_BYTES, DirectExchange, no_line
from tests.support.poll import poll
from tests.support.raw import connect
from tests.support.serving import Serving, serving

HEAD = re.compile(rb"(?s)HTTP/1.1 200 OK\r\n.*?Content-Length: (\d+)\r\n.*?\r\n\r\n")
GET = b"GET %b HTTP/1.1\r\nHost: localhost\r\n%b\r\n"


class Waiting:
    """What waits for its response, and whether its client has gone."""

    def __init__(self, exchange: DirectExchange) -> None:
        self.exchange = exchange
        self.has_gone = False
        exchange.park(self)

    def gone(self) -> None:
        self.has_gone = True


class Site:
    """A server with one route, and what waits there."""

    def __init__(self, stack: ExitStack, **options: Any) -> None:
        self.waiting: list[Waiting] = []
        self.finished: list[Finished] = []
        site = self

        class Handler(RequestHandler):
            serve_direct = staticmethod(lambda settings, head: site.serve_direct(head))

            def get(self) -> None:
                self.write("by the handler")

            post = get

        def make() -> HTTPServer:
            server = HTTPServer(None, handlers=[(r"/here/\w+", Handler)], http="llhttp", **options)
            server.on_response = self.finished.append
            return server

        self.serving: Serving = stack.enter_context(serving(make))

    def serve_direct(self, head: RequestHead) -> Callable[[DirectExchange], None] | None:
        if head.path == "/here/now":
            return lambda exchange: exchange.respond(200, [("X-Field", "value")], b"directly")
        if head.path == "/here/later":
            return lambda exchange: self.waiting.append(Waiting(exchange))
        return None

    def connect(self) -> socket.socket:
        return connect(self.serving.address)

    def answer(self, body: bytes) -> None:
        """Answer what waits longest."""
        exchange = self.waiting.pop(0).exchange
        self.serving.on_loop(lambda: exchange.respond(200, [], body))


@pytest.fixture
def site() -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(stack)


def answers(sock: socket.socket, count: int) -> list[bytes]:
    """Return the bodies of the next answers, each of which says its length; none comes after."""
    bodies: list[bytes] = []
    data = b""
    while len(bodies) < count:
        received = sock.recv(65536)
        assert received, data
        data += received
        while (head := HEAD.match(data)) and len(data) >= head.end() + int(head[1]):
            end = head.end() + int(head[1])
            bodies.append(data[head.end() : end])
            data = data[end:]
    assert (len(bodies), data) == (count, b"")
    return bodies


def test_request_is_served_directly_and_the_connection_goes_on(site: Site) -> None:
    with site.connect() as sock:
        for _ in range(2):
            sock.sendall(GET % (b"/here/now", b""))
            assert answers(sock, 1) == [b"directly"]
        sock.sendall(GET % (b"/here/now", b"Connection: close\r\n"))
        head = b""
        while received := sock.recv(65536):
            head += received
    assert b"\r\nConnection: close\r\n" in head
    assert b"\r\nX-Field: value\r\n" in head
    for name in (b"Server: flasknado", b"Date: ", b"X-Request-ID: ", b"Content-Length: 8"):
        assert b"\r\n" + name in head
    poll(lambda: len(site.finished) == 3)
    assert {(f.status, f.half, f.route) for f in site.finished} == {(200, "native", r"/here/\w+")}


@pytest.mark.parametrize(
    "request_",
    [
        GET % (b"/here/other", b""),
        b"GET /here/now HTTP/1.0\r\nHost: localhost\r\n\r\n",
        b"POST /here/now HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx",
        GET % (b"/here/now", b"Expect: 100-continue\r\n"),
    ],
)
def test_request_that_is_not_plain_is_the_handlers(site: Site, request_: bytes) -> None:
    with site.connect() as sock:
        sock.sendall(request_)
        data = b""
        while b"by the handler" not in data:
            received = sock.recv(65536)
            assert received, data
            data += received


def test_what_waits_holds_up_what_follows_on_its_connection(site: Site) -> None:
    long_field = b"X-Long: " + b"x" * SHARED_FIELD_BYTES + b"\r\n"
    with site.connect() as sock:
        sock.sendall(GET % (b"/here/later", long_field) + GET % (b"/here/now", b""))
        sock.sendall(GET % (b"/here/later", b"X-Short: x\r\n"))
        poll(lambda: site.waiting)
        site.answer(b"first")
        assert answers(sock, 2) == [b"first", b"directly"]
        poll(lambda: site.waiting)
        sock.sendall(GET % (b"/here/now", b""))
        site.answer(b"second")
        assert answers(sock, 2) == [b"second", b"directly"]
    poll(lambda: len(site.finished) == 4)
    first = site.finished[0].head
    assert first is not None
    assert (b"X-Long", b"x" * SHARED_FIELD_BYTES) in first.headers


def test_fields_of_what_waits_are_kept_once(site: Site) -> None:
    with site.connect() as one, site.connect() as another:
        for sock in (one, another):
            sock.sendall(GET % (b"/here/later", b"User-Agent: a browser\r\n"))
        poll(lambda: len(site.waiting) == 2)
        first, second = (waiting.exchange.head.headers for waiting in site.waiting)
        assert first[1] == (b"User-Agent", b"a browser")
        assert first[1][1] is second[1][1]


def test_what_waits_is_told_that_its_client_has_gone(site: Site) -> None:
    sock = site.connect()
    sock.sendall(GET % (b"/here/later", b""))
    poll(lambda: site.waiting)
    sock.close()
    poll(lambda: site.waiting[0].has_gone)
    assert not site.serving.server.counters.in_flight
    assert [finished.status for finished in site.finished] == [499]
    site.answer(b"nobody hears it")


def test_many_requests_at_once_are_answered_in_order(site: Site) -> None:
    with site.connect() as sock:
        sock.sendall((GET % (b"/here/now", b"")) * 100 + GET % (b"/here/later", b""))
        assert answers(sock, 100) == [b"directly"] * 100
        poll(lambda: site.waiting)
        site.answer(b"last")
        assert answers(sock, 1) == [b"last"]


def test_line_of_tornado_is_written_unless_that_is_switched_off(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "tornado.access"), ExitStack() as stack:
        quiet = Site(stack, settings={"log_function": no_line})
        handled = Site(stack, settings={"log_function": lambda handler: None})
        said = []
        for each in (site, quiet, handled):
            with each.connect() as sock:
                sock.sendall(GET % (b"/here/now", b""))
                said += answers(sock, 1)
    assert said == [b"directly", b"directly", b"by the handler"]
    (line,) = [record.getMessage() for record in caplog.records if record.name == "tornado.access"]
    assert line.startswith("200 GET /here/now (127.0.0.1) ")
