"""What a client's frames cost: never more than in proportion to the bytes that it sends."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tornado.websocket
from hypothesis import given, settings
from hypothesis import strategies as st
from tornado.websocket import WebSocketProtocol13, _WebSocketParams

from flasknado.http.memory import MemoryBudget
from flasknado.native import iostream
from flasknado.native.iostream import TransportStream
from flasknado.websocket import codec, watch
from flasknado.websocket.codec import Receiver, WebSocketError
from flasknado.websocket.watch import FrameWatch
from tests.flasknado.websocket.frames import client_frame
from tests.support.work import counted

REPEATED = 150
TWICE = 2.2
"""Twice the bytes may cost twice the work, and what two beginnings differ in."""
SLACK = 3000

frames = st.lists(
    st.tuples(st.sampled_from((0, 0, 0, 1, 2, 8, 9, 10)), st.booleans(), st.integers(0, 40)).map(
        lambda frame: client_frame(frame[0], b"a" * frame[2], final=frame[1] or frame[0] >= 8)
    ),
    min_size=1,
    max_size=3,
).map(b"".join)
wires = st.one_of(
    st.tuples(st.sampled_from((b"", client_frame(1, final=False))), frames),
    st.tuples(st.binary(max_size=20), st.binary(min_size=1, max_size=20)),
)
sizes_of_pieces = st.sampled_from((1, 7, 64, 1000, 1_000_000))


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def cost_of_codec(wire: bytes, size: int) -> int:
    """Return what our receiver does with these bytes, in turns as the live endpoint's."""
    receiver = Receiver(1 << 20)
    with counted(codec) as work:
        for piece in pieces(wire, size):
            data = piece
            while True:
                try:
                    for _ in receiver.receive(data, 64):
                        pass
                except WebSocketError:
                    pass
                data = b""
                if not receiver.waiting:
                    break
    return work.total


class Transport(asyncio.Transport):
    """A client that takes everything."""

    def __init__(self) -> None:
        super().__init__()
        self.closing = False

    def write(self, data: Any) -> None:
        pass

    def write_eof(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


class Shared:
    """As much of `flasknado.http.shared.Shared` as a stream uses before it is lost."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.budget = MemoryBudget(1 << 30)

    def soon(self) -> asyncio.Future[None]:
        future = self.loop.create_future()
        self.loop.call_soon(future.set_result, None)
        return future


class Handler:
    """A `WebSocketHandler`, as Tornado's protocol knows it."""

    def on_message(self, message: object) -> None:
        pass

    on_ping = on_pong = on_message

    def on_ws_connection_close(self, code: int | None = None, reason: str | None = None) -> None:
        pass

    def log_exception(self, *error: object) -> None:
        raise AssertionError(error)


def cost_of_tornado(wire: bytes, size: int) -> int:
    """Return what Tornado's protocol on our stream, and the stream, do with these bytes."""

    async def main() -> int:
        stream: Any = TransportStream(Transport(), Shared())  # type: ignore[arg-type]
        stream.watch = FrameWatch()
        params = _WebSocketParams(max_message_size=1 << 20)
        protocol = WebSocketProtocol13(Handler(), False, params)  # type: ignore[arg-type]
        protocol.stream = stream
        reading = asyncio.ensure_future(protocol._receive_frame_loop())
        for piece in pieces(wire, size):
            stream.data_received(piece)
            await asyncio.sleep(0)
        while stream._work >= iostream.WORK_PER_TURN:
            await asyncio.sleep(0)
        stream._finish_close()
        with contextlib.suppress(UnicodeDecodeError):  # Tornado's, for a closing frame's reason
            await reading
        if protocol._waiting is not None:
            stream.io_loop.remove_timeout(protocol._waiting)
        return work.total

    with counted(codec, watch, iostream, tornado.websocket) as work:
        return asyncio.run(main())


Cost = Callable[[bytes, int], int]
COSTS = pytest.mark.parametrize("cost", [cost_of_codec, cost_of_tornado])


def assert_linear(cost: Cost, first: bytes, wire: bytes, size: int) -> None:
    once = cost(first + wire * REPEATED, size)
    twice = cost(first + wire * (2 * REPEATED), size)
    assert twice <= TWICE * once + SLACK, (once, twice)


@pytest.fixture
def lifted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the limits away, so that it is not they alone that keep the cost down."""
    monkeypatch.setattr(codec, "FREE_FRAMES", 10**9)
    monkeypatch.setattr(codec, "CONTROL_FRAMES_BURST", 1e9)


@COSTS
@given(wires, sizes_of_pieces)
@settings(max_examples=25)
def test_work_for_any_bytes_grows_with_their_number_and_no_faster(
    cost: Cost, wire: tuple[bytes, bytes], size: int
) -> None:
    assert_linear(cost, *wire, size)


@COSTS
@pytest.mark.parametrize(
    "unit",
    [
        client_frame(0, final=False),
        client_frame(0, b"a" * 40, final=False),
        client_frame(9),
        client_frame(10, b"a"),
        client_frame(0, final=False) + client_frame(9, b"a" * 20),
    ],
    ids=["empty fragments", "fragments", "pings", "pongs", "pings between fragments"],
)
@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.usefixtures("lifted")
def test_work_for_frames_without_a_limit_grows_with_their_number_and_no_faster(
    cost: Cost, unit: bytes, size: int
) -> None:
    assert_linear(cost, client_frame(1, final=False), unit * 4, size)


def test_work_is_counted_also_where_it_is_done_in_c() -> None:
    with counted(codec) as work:
        total = codec.__dict__["sum"](map(len, itertools.repeat(b"a", 1000)))
    assert (total, work.bytes) == (1000, 1000)
