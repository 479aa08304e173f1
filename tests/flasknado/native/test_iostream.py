"""A connection that has left HTTP does what Tornado's `IOStream` does, on every layer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler
from tornado.websocket import WebSocketHandler

from flasknado import HTTPServer
from flasknado.native import iostream
from flasknado.websocket import codec
from tests.flasknado.site import LOOPS
from tests.flasknado.websocket.frames import client_frame
from tests.flasknado.websocket.test_closing import HANDSHAKE, read_until
from tests.support.poll import poll
from tests.support.raw import connect, read_to_end, statuses
from tests.support.serving import Serving, serving


class Impatient(WebSocketHandler):
    """Drops what it has to say while its last message is on its way."""

    closed = 0
    said: asyncio.Future[None] | None = None

    def on_message(self, message: str | bytes) -> None:
        stream: Any = self.ws_connection.stream  # type: ignore[union-attr]
        if self.said is None or self.said.done():
            self.said = stream.write(codec.frame(codec.TEXT, bytes(str(message), "ascii")))

    def on_close(self) -> None:
        Impatient.closed += 1


class Raw(RequestHandler):
    """Hands its connection to the test."""

    streams: list[Any] = []

    def get(self) -> None:
        self.streams.append(self.detach())


class Endless(RequestHandler):
    """Writes to its client as long as it takes it."""

    async def get(self) -> None:
        stream = self.detach()
        with contextlib.suppress(StreamClosedError):
            while True:
                await stream.write(b"x" * 10_000)


class Hello(RequestHandler):
    def get(self) -> None:
        self.write("hello")


Serve = Callable[[], Serving]


@pytest.fixture
def served(layer: str) -> Iterator[Serving]:
    Raw.streams = []
    Impatient.closed = 0
    handlers = [("/ws", Impatient), ("/raw", Raw), ("/endless", Endless), ("/hello", Hello)]
    with serving(
        lambda: HTTPServer(None, handlers=handlers, http=layer.partition("-")[0]),
        new_loop=LOOPS[layer],
    ) as served:
        yield served
        if layer != "tornado":
            poll(lambda: served.server.counters.connections_open == 0)


def websocket(served: Serving) -> socket.socket:
    sock = connect(served.address)
    sock.sendall(HANDSHAKE % (b"/ws", b"1.1"))
    said = b""
    while b"\r\n\r\n" not in said:
        said += sock.recv(1)
    return sock


def detached(served: Serving, sock: socket.socket) -> Any:
    sock.sendall(b"GET /raw HTTP/1.1\r\nHost: a\r\n\r\n")
    (stream,) = poll(lambda: list(Raw.streams))
    return stream


@pytest.mark.parametrize("number", [10, 100])
def test_pings_in_one_segment_have_a_pong_each(served: Serving, number: int) -> None:
    with websocket(served) as sock:
        sock.sendall(b"".join(client_frame(codec.PING, b"%d" % n) for n in range(number)))
        pongs = b"".join(codec.frame(codec.PONG, b"%d" % n) for n in range(number))
        assert read_until(sock, pongs) == pongs


def test_write_to_a_client_that_keeps_up_is_done_at_once(served: Serving) -> None:
    with websocket(served) as sock:
        sock.sendall(b"".join(client_frame(codec.TEXT, b"%d" % n) for n in range(10)))
        answers = b"".join(codec.frame(codec.TEXT, b"%d" % n) for n in range(10))
        assert read_until(sock, answers) == answers


def test_write_to_a_client_that_reads_nothing_is_done_when_it_reads(served: Serving) -> None:
    with connect(served.address, receive_buffer_bytes=4096) as sock:
        stream = detached(served, sock)
        size_bytes = 8_000_000
        written = served.on_loop(lambda: stream.write(b"x" * size_bytes))
        later = served.on_loop(lambda: stream.write(b"y"))
        assert not written.done()
        assert not later.done()
        while size_bytes >= 0:
            size_bytes -= len(sock.recv(1 << 20))
        poll(lambda: written.done() and later.done())
        assert written.result() is None


def test_endless_writer_leaves_others_their_turn(served: Serving) -> None:
    with connect(served.address) as sock:
        sock.sendall(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        assert len(sock.recv(1000)) == 1000
        with connect(served.address) as other:  # without a FIN, which to Tornado is a leave
            other.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            said = read_to_end(other)
    assert statuses(said) == [200]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            client_frame(codec.TEXT, final=False)
            + client_frame(codec.CONTINUATION, final=False) * 30_000,
            b"too many frames for a message",
        ),
        (client_frame(codec.PING) * 30_000, b"too many control frames"),
        (client_frame(codec.PONG) * 30_000, b"too many pongs"),
    ],
    ids=["fragments", "pings", "pongs"],
)
def test_client_whose_frames_bring_nothing_is_cut_off_with_1008(
    served: Serving, layer: str, data: bytes, reason: bytes
) -> None:
    if layer == "tornado":
        pytest.skip("Tornado's own stream is read by Tornado's code alone")
    with websocket(served) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
        said = read_to_end(sock)
    assert codec.CLOSE_POLICY.to_bytes(2, "big") in said
    assert reason in said
    poll(lambda: Impatient.closed == 1)
    poll(lambda: served.server.counters.connections_open == 0)


def test_reads_of_what_has_come_are_divided_into_turns(served: Serving, layer: str) -> None:
    if layer == "tornado":
        pytest.skip("Tornado's own stream has no turns")
    with connect(served.address) as sock:
        stream = detached(served, sock)
        sock.sendall(b"x" * 1000)
        poll(lambda: served.on_loop(lambda: len(stream._buffer)) == 1000)

        async def read_all() -> list[int]:
            turn, turns = 0, []
            loop = asyncio.get_running_loop()

            def next_turn() -> None:
                nonlocal turn
                turn += 1
                ticking[0] = loop.call_soon(next_turn)

            ticking = [loop.call_soon(next_turn)]
            for _ in range(1000):
                assert await stream.read_bytes(1) == b"x"
                turns.append(turn)
            ticking[0].cancel()
            return turns

        turns = asyncio.run_coroutine_threadsafe(read_all(), served.loop).result(20)
    assert max(turns.count(turn) for turn in turns) <= iostream.WORK_PER_TURN


def test_read_ahead_is_bounded_while_a_reader_waits_for_its_turn(
    served: Serving, layer: str
) -> None:
    if layer == "tornado":
        pytest.skip("Tornado's own stream has no turns")
    with connect(served.address) as sock:
        stream = detached(served, sock)

        def exhaust() -> bool:
            stream._work = iostream.WORK_PER_TURN - 1
            reading = stream.read_bytes(1)
            stream.data_received(b"x" * iostream.READ_AHEAD_BYTES)
            return bool(stream._reading_paused) and not reading.done()

        assert served.on_loop(exhaust)
        served.on_loop(stream.close)
