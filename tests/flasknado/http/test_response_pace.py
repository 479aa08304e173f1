"""Slow clients: served while nobody waits, cut off where they keep threads from others."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flasknado import HTTPServer, WSGIContainer
from flasknado.http.limits import Limits
from flasknado.wsgi.sendfile import LEAST_BYTES
from tests.flasknado.site import LOOPS, Site
from tests.flasknado.wsgi.wire import Wire
from tests.support.poll import poll
from tests.support.raw import connect, read_to_end
from tests.support.serving import Serving, serving

MakeSite = Callable[..., Site]
SWEEP_S = 0.05
THREADS = 3


class Trickle(threading.Thread):
    """Takes a little of each response, again and again, until it is told to stop."""

    def __init__(self, socks: list[socket.socket]) -> None:
        super().__init__(daemon=True)
        self._socks = socks
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.02):
            for sock in self._socks:
                with contextlib.suppress(OSError):
                    sock.recv(2000)


@pytest.fixture(params=[0])
def slow_server(llhttp: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Serving]:
    """A server with few threads, of a stream, a file and a small answer.

    Its parameter is how many threads of their own streams may have.
    """
    file = tmp_path / "large"
    file.write_bytes(bytes(LEAST_BYTES * 40))

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/stream":
            return (b"x" * 20_000 for _ in range(2000))
        if environ["PATH_INFO"] == "/file":
            return environ["wsgi.file_wrapper"](file.open("rb"))
        return [b"small"]

    def make() -> HTTPServer:
        limits = Limits(sweep_interval_s=SWEEP_S, busy_write_window_s=0.5)
        container = WSGIContainer(
            application, threads=THREADS, queue_timeout_s=60, stream_threads=request.param
        )
        return HTTPServer(container, http="llhttp", limits=limits)

    with serving(make, new_loop=LOOPS[llhttp]) as running:
        yield running


@pytest.mark.parametrize("path", ["/stream", "/file"])
def test_slow_clients_that_hold_every_thread_make_room_for_who_waits(
    slow_server: Serving, path: str
) -> None:
    container = slow_server.server.container
    assert container is not None
    with contextlib.ExitStack() as held:
        slow = [
            held.enter_context(connect(slow_server.address, receive_buffer_bytes=4096))
            for _ in range(THREADS)
        ]
        for sock in slow:
            sock.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())
        poll(lambda: container.pool.busy == THREADS)
        trickle = Trickle(slow)
        trickle.start()
        try:
            with Wire(slow_server.address) as wire:
                assert wire.get("/small").body == b"small"
            # No more are cut off than requests waited.
            poll(lambda: slow_server.server.counters.in_flight == THREADS - 1)
        finally:
            trickle.stopped.set()
            trickle.join()


def begins_with_200(address: tuple[str, int], request: bytes) -> bool:
    """Whether a stream begins, which is not read to its end."""
    with connect(address) as sock:
        sock.sendall(request)
        return sock.recv(4096).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("slow_server", [THREADS], indirect=True)
def test_slow_clients_of_streams_make_room_for_a_stream_and_not_for_other_requests(
    slow_server: Serving,
) -> None:
    container = slow_server.server.container
    assert container is not None
    ask = b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"
    with contextlib.ExitStack() as held:
        slow = [
            held.enter_context(connect(slow_server.address, receive_buffer_bytes=4096))
            for _ in range(THREADS)
        ]
        for sock in slow:
            sock.sendall(ask)
        poll(lambda: container.stream_counts().waiting == THREADS)
        trickle = Trickle(slow)
        trickle.start()
        try:
            with Wire(slow_server.address) as wire:
                for _ in range(20):
                    assert wire.get("/small").body == b"small"
                # The last answer is there a moment before it is counted.
                assert slow_server.server.counters.in_flight >= THREADS
                refused = wire.get("/stream")
                assert (refused.status, refused.header("Retry-After")) == (503, "1")
            poll(lambda: slow_server.server.counters.in_flight == THREADS - 1)
            # The client has been cut off before its thread has ended its stream.
            poll(lambda: begins_with_200(slow_server.address, ask))
        finally:
            trickle.stopped.set()
            trickle.join()


def test_slow_clients_are_served_while_nobody_waits(slow_server: Serving) -> None:
    container = slow_server.server.container
    assert container is not None
    with connect(slow_server.address, receive_buffer_bytes=4096) as sock:
        sock.sendall(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        poll(lambda: container.pool.busy == 1)
        trickle = Trickle([sock])
        trickle.start()
        done = threading.Event()
        with contextlib.suppress(AssertionError):
            poll(done.is_set, deadline_s=1.5)  # three windows
        trickle.stopped.set()
        trickle.join()

        assert slow_server.server.counters.in_flight == 1


def test_client_below_the_least_rate_is_cut_off_although_it_takes_something(
    make_site: MakeSite, llhttp: str
) -> None:
    limits = Limits(sweep_interval_s=SWEEP_S, write_timeout_s=0.5, min_write_rate_bytes_s=1e9)
    site = make_site(llhttp, limits=limits)
    with connect(site.address, receive_buffer_bytes=4096) as sock:
        sock.sendall(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        trickle = Trickle([sock])
        trickle.start()
        try:
            poll(lambda: site.seen.gone == ["/stream"])
        finally:
            trickle.stopped.set()
            trickle.join()


@pytest.mark.parametrize("path", ["/stream", "/flood", "/big"])
def test_response_that_takes_too_long_is_cut_off_if_a_deadline_is_set(
    make_site: MakeSite, llhttp: str, path: str
) -> None:
    site = make_site(llhttp, limits=Limits(sweep_interval_s=SWEEP_S, response_timeout_s=0.5))
    with connect(site.address, receive_buffer_bytes=4096) as sock:
        sock.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())
        poll(
            lambda: (
                site.server.counters.requests["ordinary"] + site.server.counters.requests["native"]
            )
        )
        poll(lambda: site.server.counters.connections_open == 0)


def test_connection_with_a_deadline_for_responses_may_stay_longer_than_it(
    make_site: MakeSite, llhttp: str
) -> None:
    site = make_site(llhttp, limits=Limits(sweep_interval_s=SWEEP_S, response_timeout_s=0.3))
    with Wire(site.address) as wire:
        answers: list[int] = []

        def ask() -> bool:
            answers.append(wire.get("/a").status)
            return len(answers) > 30 and site.server.counters.connections_accepted == 1

        poll(ask)
        with contextlib.suppress(AssertionError):
            poll(lambda: False, deadline_s=0.6)
        assert wire.get("/native/a").status == 200
    assert set(answers) == {200}


def test_read_to_end_of_a_response_within_its_deadline_is_whole(
    make_site: MakeSite, llhttp: str
) -> None:
    site = make_site(llhttp, limits=Limits(sweep_interval_s=SWEEP_S, response_timeout_s=20))
    with connect(site.address) as sock:
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

        assert len(read_to_end(sock)) > 8_000_000
