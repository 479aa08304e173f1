"""A WebSocket client at its worst is cut off, soon and alone; the others notice nothing."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from flasknado.live.endpoints import socket_subscriber
from flasknado.live.endpoints.socket_subscriber import (
    FRAMES_PER_TURN,
    WAITING_LIMIT,
    SocketSubscriber,
)
from flasknado.live.hub.hub import hub_of
from flasknado.live.state import state_of
from flasknado.websocket import codec
from tests.flasknado.live.endpoints.test_websocket import held_messages, opened, subscribers
from tests.flasknado.live.helpers import LiveApp, wait_for
from tests.flasknado.websocket.frames import client_frame
from tests.flasknado.websocket.test_closing import CLOSE, HANDSHAKE, is_closed, read_until
from tests.support.poll import poll
from tests.support.raw import connect, read_to_end, statuses
from tests.support.serving import Serving

FOR_EVER_S = 600.0
EMPTY = client_frame(codec.CONTINUATION, final=False)
FLOOD = 40_000


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be closed by a timeout."""
    monkeypatch.setattr(socket_subscriber, "GOODBYE_TIMEOUT_S", FOR_EVER_S)


@contextlib.contextmanager
def raw(served: Serving, data: bytes = b"") -> Iterator[socket.socket]:
    """Open a live WebSocket; what is sent may be more than the server takes."""
    with connect(served.address) as sock:
        sock.sendall(HANDSHAKE % (b"/live/socket", b"1.1"))
        said = b""
        while b"\r\n\r\n" not in said:
            said += sock.recv(1)
        assert statuses(said) == [101]
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
        yield sock
        with contextlib.suppress(ConnectionError):
            sock.sendall(CLOSE)
        poll(lambda: is_closed(sock))


@pytest.mark.parametrize(
    ("flood", "reason"),
    [
        (client_frame(codec.TEXT, final=False) + EMPTY * FLOOD, b"too many frames for a message"),
        (client_frame(codec.PING) * FLOOD, b"too many control frames"),
        (client_frame(codec.PONG) * FLOOD, b"too many pongs"),
        (client_frame(codec.TEXT) * FLOOD, b"too many messages"),
    ],
    ids=["fragments", "pings", "pongs", "messages"],
)
@pytest.mark.usefixtures("patient")
def test_flood_of_frames_is_cut_off_with_1008_and_others_are_served(
    live_app: LiveApp, served: Serving, flood: bytes, reason: bytes
) -> None:
    with opened(served) as other:
        other.follow("a")
        with raw(served, flood) as sock:
            said = read_to_end(sock)
        assert codec.CLOSE_POLICY.to_bytes(2, "big") in said
        assert reason in said
        live_app.publish("a")
        assert other.hear()["channel"] == "a"
        wait_for(lambda: subscribers(served, live_app) == 1, "the client to be forgotten")


def test_frames_of_one_client_are_divided_into_turns(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    per_turn: list[int] = []
    take, on_frame = SocketSubscriber._take, SocketSubscriber._on_frame

    def counted_take(self: SocketSubscriber, data: bytes = b"") -> None:
        per_turn.append(0)
        take(self, data)

    def counted_frame(self: SocketSubscriber, message: Any) -> None:
        per_turn[-1] += 1
        on_frame(self, message)

    monkeypatch.setattr(SocketSubscriber, "_take", counted_take)
    monkeypatch.setattr(SocketSubscriber, "_on_frame", counted_frame)
    number = 3 * FRAMES_PER_TURN
    pings = b"".join(client_frame(codec.PING, b"%d" % n) for n in range(number))
    pongs = b"".join(codec.frame(codec.PONG, b"%d" % n) for n in range(number))
    with raw(served, pings) as sock:
        assert read_until(sock, pongs) == pongs
        assert sum(per_turn) == number
        assert max(per_turn) <= FRAMES_PER_TURN


@pytest.mark.parametrize("half_close", [True, False], ids=["tcp", "as under tls"])
@pytest.mark.usefixtures("patient")
def test_violation_is_closed_once_the_client_has_answered(
    served: Serving, half_close: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not half_close:
        monkeypatch.setattr(socket_subscriber, "shut_down_writing", lambda stream: None)
    with raw(served, b"\xf1\x81\0\0\0\0a") as sock:
        read_until(sock, codec.CLOSE_PROTOCOL_ERROR.to_bytes(2, "big"))
        sock.sendall(client_frame(codec.TEXT, b"late") + CLOSE)
        while sock.recv(1000):
            pass


@pytest.mark.usefixtures("patient")
def test_client_that_sends_on_after_a_violation_is_cut_off(served: Serving) -> None:
    with raw(served, b"\xf1\x81\0\0\0\0a") as sock:
        read_until(sock, codec.CLOSE_PROTOCOL_ERROR.to_bytes(2, "big"))
        late = client_frame(codec.BINARY, b"a" * 1000)
        with pytest.raises(ConnectionError):
            sock.sendall(late * 100_000)


@pytest.mark.usefixtures("patient")
def test_close_is_seen_of_a_client_whose_messages_had_to_wait(
    live_app: LiveApp, served: Serving
) -> None:
    begun, released = held_messages(live_app)
    with opened(served) as client:
        client.follow("chat:1")
        for n in range(WAITING_LIMIT + 5):
            client.say(type="message", channel="chat:1", data=n)
        assert begun.wait(15)
        hub = served.on_loop(lambda: hub_of(state_of(live_app.app), served.server))
        (subscriber,) = served.on_loop(lambda: list(hub._subscribers))
        assert isinstance(subscriber, SocketSubscriber)
        wait_for(lambda: not served.on_loop(lambda: subscriber._reading), "the reading to stop")
        served.on_loop(lambda: subscriber.close(codec.CLOSE_RESTART, "for the test"))
        assert client.closed() == (codec.CLOSE_RESTART, "for the test")
        wait_for(lambda: served.on_loop(subscriber._stream.closed), "the connection to close")
        released.set()


def test_handshake_in_http_1_0_is_not_answered_101(served: Serving) -> None:
    with connect(served.address) as sock:
        sock.sendall(HANDSHAKE % (b"/live/socket", b"1.0"))
        assert statuses(read_to_end(sock)) == [426]
