"""Responses in parts: sent at once, at the client's pace, and ended when the client leaves."""

from __future__ import annotations

import contextvars
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.flasknado.wsgi.conftest import Serve
from tests.flasknado.wsgi.wire import DEADLINE_S, Wire
from tests.support.poll import poll

CHUNK_BYTES = 64 * 1024
BOUND_BYTES = 24 * 1024 * 1024
"""What the kernel's buffers of both ends may take, generously, and our own little one."""

Leave = Callable[[Wire], None]
LEAVES = [pytest.param(Wire.close, id="by FIN"), pytest.param(Wire.reset, id="by RST")]

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Streaming:
    """An application that streams without end and notes where its parts run."""

    def __init__(self, part: bytes = b"x" * CHUNK_BYTES) -> None:
        self.part = part
        self.parts = 0
        self.places: list[tuple[str, int, str]] = []
        self.closed = threading.Event()
        self.proceed = threading.Event()
        self.proceed.set()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Streaming:
        variable.set("this request's")
        self._note("call")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return self

    def __iter__(self) -> Iterator[bytes]:
        self._note("iterate")
        for self.parts in itertools.count(1):
            yield self.part
            assert self.proceed.wait(DEADLINE_S)

    def close(self) -> None:
        self._note("close")
        self.closed.set()

    def _note(self, what: str) -> None:
        self.places.append((what, threading.get_ident(), variable.get()))


def settled(ask: Callable[[], int], readings: int = 15) -> int:
    """Return what `ask` returns once it has not changed for a while."""
    last = [-1, 0]

    def unchanged() -> int:
        value = ask()
        last[1] = last[1] + 1 if value == last[0] else 0
        last[0] = value
        return last[1]

    poll(unchanged, until=lambda count: count >= readings)
    return last[0]


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def test_each_part_reaches_the_client_before_the_next_is_made(serve: Serve) -> None:
    made: list[int] = []
    next_ = threading.Semaphore(0)

    def trickle(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        for number in range(5):
            made.append(number)
            yield b"part %d" % number
            assert next_.acquire(timeout=DEADLINE_S)

    with Wire(serve(trickle).address) as wire:
        wire.send(GET)
        assert wire.head().header("Transfer-Encoding") == "chunked"
        for number in range(5):
            assert wire.chunk() == b"part %d" % number
            assert made == list(range(number + 1))
            next_.release()
        assert wire.chunk() == b""


def test_stream_that_frames_itself_is_framed_once(serve: Serve) -> None:
    def chunked(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Transfer-Encoding", "chunked")])
        return iter((b"one ", b"two"))

    with Wire(serve(chunked).address) as wire:
        for _ in range(2):
            answer = wire.ask(GET)
            assert answer.all("Transfer-Encoding") == ["chunked"]
            assert answer.body == b"one two"


def test_event_stream_of_a_view_asks_the_proxy_not_to_hold_it_back(serve: Serve) -> None:
    def events(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return iter((b"data: 1\n\n", b"data: 2\n\n"))

    with Wire(serve(events).address) as wire:
        assert wire.ask(GET).header("X-Accel-Buffering") == "no"


def test_stream_to_a_client_that_does_not_read_waits_and_then_goes_on(serve: Serve) -> None:
    app = Streaming()
    with Wire(serve(app).address, receive_buffer_bytes=4096) as wire:
        wire.send(GET)
        made = settled(lambda: app.parts)
        assert made * CHUNK_BYTES < BOUND_BYTES
        wire.head()
        for _ in range(made + 50):
            assert wire.chunk() == app.part
        assert app.parts >= made + 50


def test_bounded_stream_to_a_slow_client_arrives_whole(serve: Serve) -> None:
    parts = [bytes([n % 256]) * (n * 997 % 70_000) for n in range(200)]
    with Wire(serve(_answering(parts)).address, receive_buffer_bytes=4096) as wire:
        assert wire.ask(GET).body == b"".join(parts)
        assert wire.ask(GET).status == 200


def test_part_larger_than_every_buffer_arrives_whole(serve: Serve) -> None:
    parts = [bytes(range(256)) * 40_000, b"end"]
    with Wire(serve(_answering(parts)).address, receive_buffer_bytes=4096) as wire:
        assert wire.ask(GET).body == b"".join(parts)


def _answering(parts: list[bytes]) -> Callable[..., Any]:
    def answer(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return parts

    return answer


@pytest.mark.parametrize("leave", LEAVES)
def test_client_that_leaves_while_reading_ends_the_stream(leave: Leave, serve: Serve) -> None:
    app = Streaming()
    wire = Wire(serve(app).address)
    wire.send(GET)
    wire.head()
    wire.chunk()
    leave(wire)
    assert app.closed.wait(DEADLINE_S)


@pytest.mark.parametrize("leave", LEAVES)
def test_client_that_leaves_without_reading_wakes_the_waiting_thread(
    leave: Leave, serve: Serve
) -> None:
    app = Streaming()
    wire = Wire(serve(app).address, receive_buffer_bytes=4096)
    wire.send(GET)
    settled(lambda: app.parts)
    leave(wire)
    assert app.closed.wait(DEADLINE_S)
    assert app.parts * CHUNK_BYTES < BOUND_BYTES


@pytest.mark.parametrize("leave", LEAVES)
def test_client_that_leaves_between_parts_ends_the_stream_at_the_next(
    leave: Leave, serve: Serve
) -> None:
    app = Streaming(b"part")
    app.proceed.clear()
    server = serve(app)
    wire = Wire(server.address)
    wire.send(GET)
    wire.head()
    assert wire.chunk() == b"part"
    leave(wire)
    if leave is Wire.reset:  # a FIN may be a half-close, which the next parts tell from a leave
        poll(lambda: server.server.counters.in_flight == 0)
    app.proceed.set()
    assert app.closed.wait(DEADLINE_S)
    poll(lambda: server.server.counters.in_flight == 0)


def test_stream_is_called_iterated_and_closed_in_one_thread_and_one_context(serve: Serve) -> None:
    app = Streaming()
    server = serve(app, threads=8)
    for _ in range(8):
        app.places.clear()
        app.closed.clear()
        with Wire(server.address) as wire:
            wire.send(GET)
            wire.head()
            wire.chunk()
        assert app.closed.wait(DEADLINE_S)
        assert [what for what, _, _ in app.places] == ["call", "iterate", "close"]
        assert len({thread for _, thread, _ in app.places}) == 1
        assert {value for _, _, value in app.places} == {"this request's"}


def test_many_streams_that_were_left_free_their_threads(serve: Serve) -> None:
    app = Streaming()
    server = serve(app, threads=2)
    for _ in range(10):
        with Wire(server.address) as wire:
            wire.send(GET)
            wire.head()
    assert server.server.container is not None
    pool = server.server.container.pool
    poll(lambda: pool.idle)


def test_write_raises_for_a_client_that_left(serve: Serve) -> None:
    raised: list[BaseException] = []
    done = threading.Event()

    def writing(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        try:
            while True:
                write(b"x" * CHUNK_BYTES)
        except OSError as error:
            raised.append(error)
            raise
        finally:
            done.set()

    with Wire(serve(writing).address) as wire:
        wire.send(GET)
        wire.head()
    assert done.wait(DEADLINE_S)
    assert "the client closed the connection" in str(raised[0])


def test_client_that_leaves_is_no_error_in_the_log(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    app = Streaming()
    with Wire(serve(app).address) as wire:
        wire.send(GET)
        wire.head()
    assert app.closed.wait(DEADLINE_S)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
