"""Streams and long polls hold threads of their own, so that requests keep those of the pool."""

from __future__ import annotations

import asyncio
import logging
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import flask
import pytest
import requests

from flasknado import WSGIContainer
from flasknado.server import LAYERS
from flasknado.wsgi.holding import waits_for_thread
from tests.flasknado.wsgi.conftest import Serve
from tests.flasknado.wsgi.wire import Wire
from tests.support.poll import poll
from tests.support.raw import connect, read_to_end
from tests.support.serving import Serving

THREADS = 2
LIMIT = 8
DEADLINE_S = 20.0


class Site:
    """An application of streams, long polls and pages; what waits ends with the test."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.closed: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.messages: queue.Queue[str] = queue.Queue()
        self.computing = 0
        self.socket, self.other_end = socket.socketpair()
        app = self.app = flask.Flask("streams")
        app.get("/")(lambda: "a page")
        app.get("/stream")(self.stream)
        app.get("/events")(self.events)
        app.get("/flood")(self.flood)
        app.get("/parts")(self.parts)
        app.get("/poll")(self.poll)
        app.get("/upstream")(self.upstream)
        app.get("/compute")(self.compute)

    def stream(self) -> flask.Response:
        def generate() -> Iterator[str]:
            try:
                yield "begun"
                while not self.ended.wait(0.05):
                    yield "."
            except GeneratorExit:
                self.closed.put("closed")
                raise

        return flask.Response(generate(), mimetype="text/plain")

    def events(self) -> flask.Response:
        """Send events for ever, or wait for ever for the next one."""

        def generate() -> Iterator[str]:
            try:
                yield "data: begun\n\n"
                while not self.ended.wait(None if flask.request.args.get("hangs") else 0.05):
                    yield ":\n\n"
            except GeneratorExit:
                self.closed.put("closed")
                raise

        context = flask.stream_with_context(generate())
        return flask.Response(context, mimetype="text/event-stream")

    def flood(self) -> flask.Response:
        return flask.Response((b"x" * 50_000 for _ in range(1000)), mimetype="text/plain")

    def parts(self) -> flask.Response:
        return flask.Response((f"{number}\n" for number in range(20)), mimetype="text/plain")

    def poll(self) -> str:
        return self.messages.get(timeout=DEADLINE_S)

    def upstream(self) -> str:
        return self.other_end.recv(100).decode()

    def compute(self) -> flask.Response:
        def generate() -> Iterator[str]:
            yield "begun"
            while not self.ended.is_set():
                self.computing += 1
            yield "done"

        return flask.Response(generate(), mimetype="text/plain")


@pytest.fixture
def layer(request: pytest.FixtureRequest) -> str:
    """The connection layer; most of this is the same on each."""
    return str(getattr(request, "param", "llhttp"))


@pytest.fixture(autouse=True)
def prompt_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flasknado.server.DRAIN_LINGER_S", 0.05)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.ended.set()
    for _ in range(64):
        site.messages.put("end")
    site.socket.sendall(b"end" * 64)
    site.socket.close()
    site.other_end.close()


@pytest.fixture
def server(site: Site, serve: Serve) -> Iterator[Serving]:
    server = serve(site.app, threads=THREADS, stream_threads=LIMIT, abandoned_after_s=0.3)
    yield server
    site.ended.set()


def container_of(server: Serving) -> WSGIContainer:
    assert server.server.container is not None
    return server.server.container


def begun(server: Serving, path: str) -> socket.socket:
    """Return a connection on which a stream has begun."""
    sock = connect(server.address)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    said = b""
    while b"begun" not in said:
        part = sock.recv(4096)
        assert part, said
        said += part
    return sock


def get(server: Serving, path: str = "/") -> requests.Response:
    return requests.get(server.url + path, timeout=DEADLINE_S)


def in_background(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


@pytest.mark.parametrize("layer", LAYERS, indirect=True)
def test_more_streams_than_threads_leave_pages_theirs(server: Serving, site: Site) -> None:
    pool = container_of(server).pool
    with ExitStack() as streams:
        for _ in range(LIMIT):
            streams.enter_context(begun(server, "/stream"))
            assert get(server).text == "a page"
        poll(lambda: len(pool.aside) == LIMIT)
        assert container_of(server).stream_counts() == (LIMIT, 0, 0)
        assert (pool.busy, pool.threads, len(pool.workers)) == (0, THREADS, THREADS)
        refused = get(server, "/stream")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert container_of(server).streams.refused == 1
        assert get(server).text == "a page"
    poll(lambda: site.closed.qsize() == LIMIT + 1)  # the refused one was closed as well
    poll(lambda: pool.idle)
    assert not pool.aside, "their threads end with them"
    with begun(server, "/stream"):
        assert container_of(server).streams.used == 1


def test_short_responses_in_parts_start_no_threads(server: Serving) -> None:
    pool = container_of(server).pool
    for _ in range(30):
        assert len(get(server, "/parts").text.split()) == 20
    assert pool._asides == 0


def test_without_threads_of_their_own_streams_hold_those_of_the_pool(
    site: Site, serve: Serve
) -> None:
    server = serve(site.app, threads=THREADS, stream_threads=0, queue_timeout_s=0.6)
    with begun(server, "/stream"), begun(server, "/stream"):
        assert get(server).status_code == 503
        site.ended.set()


@pytest.mark.parametrize("layer", LAYERS, indirect=True)
def test_stream_whose_client_does_not_read_is_set_aside_as_waiting(server: Serving) -> None:
    with ExitStack() as clients:
        for _ in range(THREADS + 1):
            sock = clients.enter_context(connect(server.address, receive_buffer_bytes=4096))
            sock.sendall(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
        poll(lambda: container_of(server).stream_counts().waiting == THREADS + 1)
        assert get(server).text == "a page"
    poll(lambda: container_of(server).pool.idle)


def test_more_long_polls_than_threads_leave_pages_theirs(server: Serving, site: Site) -> None:
    answers: list[str] = []
    polls = [in_background(lambda: answers.append(get(server, "/poll").text)) for _ in range(LIMIT)]
    poll(lambda: site.messages.unfinished_tasks == 0 and container_of(server).streams.used >= 6)
    assert get(server).text == "a page"
    for number in range(LIMIT):
        site.messages.put(str(number))
    for waiting in polls:
        waiting.join(DEADLINE_S)
    assert sorted(answers) == [str(number) for number in range(LIMIT)]
    poll(lambda: container_of(server).pool.idle)


def test_views_that_wait_for_another_server_keep_the_threads_of_the_pool(
    server: Serving, site: Site
) -> None:
    pool = container_of(server).pool
    waiting = [in_background(lambda: get(server, "/upstream")) for _ in range(THREADS + 2)]
    poll(lambda: pool.queued == 2)
    time.sleep(0.6)  # as long as it takes to set a long poll aside, and more
    assert (pool.busy, pool.queued, pool.aside) == (THREADS, 2, [])
    for _ in waiting:
        site.socket.sendall(b"x" * 100)
    for thread in waiting:
        thread.join(DEADLINE_S)


def test_streams_that_compute_keep_the_threads_of_the_pool(server: Serving, site: Site) -> None:
    pool = container_of(server).pool
    with begun(server, "/compute"), begun(server, "/compute"):
        page = in_background(lambda: get(server))
        poll(lambda: pool.queued == 1)
        time.sleep(0.5)
        assert (pool.queued, pool.aside) == (1, [])
        site.ended.set()
        page.join(DEADLINE_S)


def test_stream_that_was_left_and_never_yields_is_counted_as_abandoned(
    server: Serving, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    container = container_of(server)
    waits_for_ever = flask.Response(
        (text if text else site.messages.get() for text in ("begun", "")),
        mimetype="text/event-stream",
    )
    site.app.view_functions["stream"] = lambda: waits_for_ever
    begun(server, "/stream").close()
    poll(lambda: container.stream_counts() == (0, 0, 1))
    poll(lambda: container.pool.aside)
    assert container.stuck == 0, "the pool has made up for it"
    assert "its client left 0.3 s ago; it is here:" in caplog.text
    site.messages.put("at last")
    poll(lambda: container.stream_counts() == (0, 0, 0))


def test_long_poll_that_was_set_aside_has_its_deadline(site: Site, serve: Serve) -> None:
    server = serve(site.app, threads=1, stream_threads=LIMIT, request_timeout_s=1.0)
    statuses: list[int] = []
    waiting = in_background(lambda: statuses.append(get(server, "/poll").status_code))
    poll(lambda: container_of(server).pool.busy)
    assert get(server).text == "a page"
    waiting.join(DEADLINE_S)
    assert statuses == [504]
    assert container_of(server).stuck == 1
    site.messages.put("too late")
    poll(lambda: container_of(server).stuck == 0)


@pytest.mark.parametrize(
    ("waiting", "module", "expected"),
    [
        ("ready.wait(10)", "shop.views", True),
        ("queue.Queue().get(timeout=0.5)", "shop.views", True),
        ("ready.wait(10)", "sqlalchemy.util.queue", False),
        ("time.sleep(0.5)", "shop.views", False),
    ],
)
def test_who_waits_for_a_thread_is_told_from_who_waits_for_something_else(
    waiting: str, module: str, expected: bool
) -> None:
    ready = threading.Event()
    space = {"__name__": module, "queue": queue, "time": time, "ready": ready}
    exec(f"def wait():\n try: {waiting}\n except queue.Empty: pass", space)
    thread = threading.Thread(target=space["wait"])  # type: ignore[arg-type]
    thread.start()
    seen = []
    for _ in range(20):
        seen.append(waits_for_thread(sys._current_frames().get(thread.ident or 0)))
        time.sleep(0.01)
    ready.set()
    thread.join()
    assert any(seen) == expected


def test_thread_that_has_ended_waits_for_nobody() -> None:
    assert not waits_for_thread(None)


def test_number_below_zero_is_refused() -> None:
    with pytest.raises(Exception, match="stream_threads must be 0 or more, not -1"):
        WSGIContainer(flask.Flask("a"), stream_threads=-1)


def test_refused_stream_ends_its_generator_and_keeps_the_connection(
    site: Site, serve: Serve
) -> None:
    server = serve(site.app, threads=THREADS, stream_threads=1)
    with begun(server, "/stream"), Wire(server.address) as wire:
        assert wire.get("/parts").status == 503
        assert wire.get("/").body == b"a page"
        site.ended.set()


@pytest.mark.parametrize("layer", LAYERS, indirect=True)
def test_drain_ends_event_streams_and_waits_for_no_thread_that_hangs_in_one(
    serve: Serve, site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("flasknado.wsgi.container.LEAVE_STREAM_S", 0.2)
    server = serve(site.app, threads=2, stream_grace_s=0.1)
    with begun(server, "/events") as sends, begun(server, "/events?hangs=1") as hangs:
        caplog.set_level(logging.WARNING, "flasknado.error")
        drained = asyncio.run_coroutine_threadsafe(server.server.drain(60), server.loop)
        for sock in (sends, hangs):
            assert read_to_end(sock).endswith(b"0\r\n\r\n")
        assert site.closed.get(timeout=DEADLINE_S) == "closed"
        assert drained.result(DEADLINE_S)
    assert "threads that go on with streams which the drain has ended: 1" in caplog.text
