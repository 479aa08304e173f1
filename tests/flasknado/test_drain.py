"""Draining: what a client has begun is answered, and what waits for it is sent."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import flask
import pytest
import uvloop

from flasknado import HTTPServer, WSGIContainer
from flasknado import server as server_module
from flasknado.server import DRAIN_LINGER_S, LAYERS
from tests.flasknado.wsgi.wire import Wire
from tests.support.poll import poll
from tests.support.serving import Serving, serving

BIG_BYTES = 8_000_000
REQUEST = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"

app = flask.Flask(__name__)
held = threading.Event()


@app.get("/")
def index() -> str:
    return "answered"


@app.get("/held")
def wait() -> str:
    held.wait(20)
    return "answered at last"


@app.get("/big")
def big() -> bytes:
    return b"x" * BIG_BYTES


@pytest.fixture(params=LAYERS)
def served(request: pytest.FixtureRequest) -> Iterator[Serving]:
    new_loop: Callable[[], Any] = (
        uvloop.new_event_loop if request.param == "llhttp" else asyncio.new_event_loop
    )

    def make() -> HTTPServer:
        return HTTPServer(WSGIContainer(app), http=request.param)

    with serving(make, new_loop=new_loop) as served:
        yield served


def open_connections(served: Serving) -> int:
    server: Any = served.server
    return len(server._shared.connections if server._shared else server._connections)


def begin_drain(served: Serving, **options: bool) -> Future[bool]:
    """Begin to drain, and return when it has begun."""
    drained = asyncio.run_coroutine_threadsafe(served.server.drain(20, **options), served.loop)
    poll(lambda: served.server.draining)
    return drained


def connected(served: Serving, count: int = 1) -> None:
    """Wait until the server has accepted `count` connections."""
    poll(lambda: served.on_loop(lambda: open_connections(served)) == count)


def test_drain_answers_the_first_request_of_a_connection_accepted_before(served: Serving) -> None:
    with Wire(served.address) as wire:
        connected(served)
        drained = begin_drain(served)
        answer = wire.ask(REQUEST)
        assert answer.text == "answered"
        assert answer.header("Connection") == "close"
        assert drained.result(20)


def test_drain_answers_a_request_whose_head_was_half_there(served: Serving) -> None:
    with Wire(served.address) as wire:
        wire.send(REQUEST[:20])
        connected(served)
        drained = begin_drain(served)
        assert wire.ask(REQUEST[20:]).text == "answered"
        assert drained.result(20)


def test_drain_lets_a_connection_at_rest_send_one_more_request(served: Serving) -> None:
    with Wire(served.address) as wire:
        assert wire.ask(REQUEST).header("Connection") != "close"
        drained = begin_drain(served)
        answer = wire.ask(REQUEST)
        assert answer.text == "answered"
        assert answer.header("Connection") == "close"
        assert drained.result(20)


def test_stop_takes_the_connections_that_wait_to_be_accepted(served: Serving) -> None:
    def connect_and_stop() -> Wire:
        wire = Wire(served.address)  # the kernel shakes hands while the loop is in here
        served.server.stop()
        return wire

    with served.on_loop(connect_and_stop) as wire:
        assert wire.ask(REQUEST).text == "answered"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(served.address, 10)


def test_drain_closes_connections_that_stay_at_rest(served: Serving) -> None:
    with Wire(served.address) as wire:
        wire.ask(REQUEST)
        began = time.monotonic()
        assert begin_drain(served).result(20)
        assert time.monotonic() - began >= DRAIN_LINGER_S
        assert wire.rest() == b""


@pytest.mark.parametrize("served", ["llhttp"], indirect=True)
def test_drain_that_closes_idle_connections_answers_new_ones(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "DRAIN_LINGER_S", 15.0)
    with Wire(served.address) as idle, Wire(served.address) as new:
        idle.ask(REQUEST)
        connected(served, 2)
        drained = begin_drain(served, close_idle=True)
        assert idle.rest() == b""
        assert new.ask(REQUEST).text == "answered"
        assert drained.result(20)


def test_drain_with_nobody_connected_does_not_linger(served: Serving) -> None:
    began = time.monotonic()
    assert begin_drain(served).result(20)
    assert time.monotonic() - began < DRAIN_LINGER_S


def test_drain_ends_in_time_with_callbacks_that_do_not(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "CLOSE_S", 0.1)
    closed: list[float] = []

    over = False

    async def hang(*_: float) -> None:
        while not over:
            await asyncio.sleep(0.05)

    async def note(*_: float) -> None:
        closed.append(time.monotonic())

    served.server.add_drain_callback(hang)
    served.server.add_close_callback(note)
    served.server.add_close_callback(hang)

    began = time.monotonic()
    asyncio.run_coroutine_threadsafe(served.server.drain(0.2), served.loop).result(10)
    over = True

    assert 0.2 <= closed[0] - began < 5


def test_drain_waits_for_a_request_under_way(served: Serving) -> None:
    held.clear()
    with Wire(served.address) as wire:
        wire.send(b"GET /held HTTP/1.1\r\nHost: a.test\r\n\r\n")
        poll(lambda: served.server.container and served.server.container.pool.busy)
        drained = begin_drain(served)
        held.set()
        assert wire.answer().text == "answered at last"
        assert drained.result(20)


def test_drain_sends_the_whole_of_an_answer_to_a_slow_client(served: Serving) -> None:
    with Wire(served.address, receive_buffer_bytes=4096) as wire:
        wire.send(b"GET /big HTTP/1.1\r\nHost: a.test\r\n\r\n")
        head = wire.head()
        drained = begin_drain(served)
        with pytest.raises(TimeoutError):
            drained.result(2 * DRAIN_LINGER_S)
        assert len(wire._exactly(int(head.header("Content-Length") or 0))) == BIG_BYTES
        assert drained.result(20)
