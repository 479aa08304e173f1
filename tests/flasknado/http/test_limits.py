"""Timeouts and bounds of connections, with small limits and without sleeping."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Callable
from typing import Any

import pytest
from tornado.web import RequestHandler, stream_request_body

from flasknado.errors import ConfigurationError
from flasknado.http.limits import Limits
from tests.flasknado.site import Site
from tests.flasknado.wsgi.wire import Wire
from tests.support.poll import poll
from tests.support.raw import connect, read_to_end, statuses

MakeSite = Callable[..., Site]
SWEEP_S = 0.05
HOST = b"Host: a\r\n"


@stream_request_body
class EarlyAnswer(RequestHandler):
    """Answers at length before the body of its request has come."""

    def prepare(self) -> None:
        self.finish(b"x" * 8_000_000)

    def data_received(self, chunk: bytes) -> None:
        """Take no note of it."""


def limits(**changed: Any) -> Limits:
    return Limits(sweep_interval_s=SWEEP_S, **changed)


def get_with(*fields: bytes, path: bytes = b"/") -> bytes:
    return b"\r\n".join([b"GET %b HTTP/1.1" % path, b"Host: a", *fields, b"", b""])


@pytest.mark.parametrize("name", ["max_head_bytes", "keep_alive_timeout_s", "pipeline_limit"])
def test_limit_that_is_not_positive_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be more than 0, not 0"):
        Limits(**{name: 0})


@pytest.mark.parametrize("begun", [b"GET", b"GET / HTTP/1.1\r\nHost: a\r\nX"])
def test_head_that_does_not_arrive_is_answered_408(
    make_site: MakeSite, llhttp: str, begun: bytes
) -> None:
    site = make_site(llhttp, limits=limits(header_timeout_s=0.2))
    with connect(site.address) as sock:
        sock.sendall(begun)

        assert statuses(read_to_end(sock)) == [408]


def test_connection_that_says_nothing_is_closed_without_a_word(
    make_site: MakeSite, llhttp: str
) -> None:
    site = make_site(llhttp, limits=limits(header_timeout_s=0.2))
    with connect(site.address) as sock:
        assert read_to_end(sock) == b""


def test_connection_at_rest_is_closed_after_the_keep_alive_timeout(
    make_site: MakeSite, llhttp: str
) -> None:
    site = make_site(llhttp, limits=limits(keep_alive_timeout_s=0.2))
    with Wire(site.address) as wire:
        assert [wire.get("/a").status, wire.get("/native/a").status] == [200, 200]

        assert wire.rest() == b""


@pytest.mark.parametrize("path", ["/a", "/native/a", "/upload"])
def test_body_that_trickles_is_answered_408(make_site: MakeSite, llhttp: str, path: str) -> None:
    site = make_site(llhttp, limits=limits(body_timeout_s=0.3, min_body_rate_bytes_s=1000))
    with connect(site.address) as sock:
        length = b"Content-Length: 100000\r\n\r\n"
        sock.sendall(b"POST %b HTTP/1.1\r\n%b%b" % (path.encode(), HOST, length))
        sock.settimeout(0.02)

        def trickle() -> bytes:
            sock.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                return sock.recv(1000)
            return b""

        assert statuses(poll(trickle)) == [408]
    assert not site.seen.requests


def test_body_at_a_good_rate_may_take_longer_than_the_timeout(
    make_site: MakeSite, llhttp: str
) -> None:
    site = make_site(llhttp, limits=limits(body_timeout_s=0.1, min_body_rate_bytes_s=10))
    with Wire(site.address) as wire:
        wire.send(b"POST /a HTTP/1.1\r\n%bContent-Length: 300\r\n\r\n" % HOST)
        left = 300

        def send_on() -> bool:
            nonlocal left
            wire.send(b"xxx")
            left -= 3
            return left == 0

        poll(send_on)

        assert wire.answer().status == 200


@pytest.mark.parametrize("path", ["/stream", "/flood", "/big"])
def test_client_that_takes_nothing_is_cut_off(make_site: MakeSite, llhttp: str, path: str) -> None:
    site = make_site(llhttp, limits=limits(write_timeout_s=0.3, keep_alive_timeout_s=0.3))
    with connect(site.address, receive_buffer_bytes=4096) as sock:
        sock.sendall(b"GET %b HTTP/1.1\r\n%b\r\n" % (path.encode(), HOST))

        poll(
            lambda: (
                site.server.counters.requests["ordinary"] + site.server.counters.requests["native"]
            )
        )
        poll(lambda: site.server.counters.connections_open == 0)
        poll(lambda: site.server.counters.in_flight == 0)


@pytest.mark.parametrize("path", ["/big", "/early"])
def test_client_that_takes_a_large_answer_slowly_gets_it_whole(
    make_site: MakeSite, llhttp: str, path: str
) -> None:
    site = make_site(
        llhttp,
        limits=limits(write_timeout_s=0.5, keep_alive_timeout_s=0.2, linger_timeout_s=0.2),
    )
    site.serving.on_loop(lambda: site.server.add_handlers([(r"/early", EarlyAnswer)]))
    with connect(site.address, receive_buffer_bytes=64 * 1024) as sock:
        length = b"Content-Length: 9\r\n" if path == "/early" else b""
        sock.sendall(b"GET %b HTTP/1.1\r\n%b%b\r\n" % (path.encode(), HOST, length))
        sizes: list[int] = []

        def take() -> bool:
            sizes.append(len(sock.recv(100_000)))
            return sizes[-1] == 0 or sum(sizes) > 8_000_000

        poll(take)

    assert sum(sizes) > 8_000_000


@pytest.mark.parametrize(
    ("request_bytes", "changed", "status"),
    [
        (get_with(b"X: " + b"a" * 500), {"max_head_bytes": 400}, 431),
        (get_with(*[b"X: a"] * 9), {"max_fields": 9}, 431),
        (get_with(path=b"/" + b"a" * 99), {"max_target_bytes": 99}, 414),
    ],
)
def test_limit_of_the_head_is_exact(
    make_site: MakeSite, llhttp: str, request_bytes: bytes, changed: dict[str, int], status: int
) -> None:
    beyond = make_site(llhttp, limits=limits(**changed))
    with connect(beyond.address) as sock:
        sock.sendall(request_bytes)
        assert statuses(read_to_end(sock)) == [status]

    within = make_site(llhttp, limits=limits(**{name: n + 200 for name, n in changed.items()}))
    with Wire(within.address) as wire:
        assert wire.ask(request_bytes).status == 200


def test_connection_beyond_the_bound_is_answered_503_and_others_stay(
    make_site: MakeSite, llhttp: str
) -> None:
    site = make_site(llhttp, limits=limits(max_connections=2, linger_timeout_s=0.2))
    with Wire(site.address) as first, Wire(site.address) as second:
        assert [first.get("/a").status, second.get("/a").status] == [200, 200]
        with connect(site.address) as third:
            assert statuses(read_to_end(third)) == [503]
        assert first.get("/a").status == 200
    poll(lambda: site.server.counters.connections_open == 0)

    with Wire(site.address) as again:
        assert again.get("/a").status == 200
    assert site.server.counters.connections_refused == 1


def test_refused_client_that_sends_on_is_dropped_at_the_bounds_of_lingering(
    make_site: MakeSite, llhttp: str
) -> None:
    site = make_site(llhttp, limits=limits(linger_bytes=10_000, linger_timeout_s=20))
    with connect(site.address) as sock:
        sock.sendall(b"\x00\r\n\r\n")

        def send_on() -> bool:
            try:
                sock.sendall(b"x" * 5000)
            except ConnectionError:
                return True
            return False

        poll(send_on)


def test_endless_chunk_extensions_are_refused(make_site: MakeSite, llhttp: str) -> None:
    site = make_site(llhttp)
    with connect(site.address) as sock:
        sock.sendall(b"POST /a HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n1;" % HOST)
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                sock.sendall(b"x" * 10_000)

        assert statuses(read_to_end(sock)) in ([400], [])
    assert not site.seen.requests


@pytest.mark.parametrize("layer", ["llhttp"], indirect=True)
def test_2000_slow_clients_leave_ordinary_requests_served(make_site: MakeSite, layer: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    site = make_site(layer)
    slow: list[socket.socket] = []
    stages = [
        b"",
        b"GET /a HTTP/1.1\r\nHo",
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc",
        b"POST /native/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc",
    ]
    try:
        for number in range(2000):
            sock = connect(site.address)
            sock.sendall(stages[number % len(stages)])
            slow.append(sock)
        poll(lambda: site.server.counters.connections_open == 2000)

        with Wire(site.address) as wire:
            assert {wire.get(f"/{number}").status for number in range(100)} == {200}
    finally:
        for sock in slow:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
