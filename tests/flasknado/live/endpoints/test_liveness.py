"""Clients that are gone without a word, or never begin: what they hold is freed."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug.middleware.proxy_fix import ProxyFix

from flasknado.live.event import parse_cursor
from flasknado.live.hub import hub as hub_module
from flasknado.live.hub.hub import Hub, hub_of
from flasknado.live.log import presence_tracker
from flasknado.live.log.presence import Presence
from flasknado.live.state import state_of
from flasknado.live.tickets import NOBODY
from tests.flasknado.live.endpoints.test_websocket import opened, subscribers
from tests.flasknado.live.helpers import LiveApp, SseClient, get, wait_for
from tests.support.raw import connect
from tests.support.serving import Serving

MakeApp = Callable[..., LiveApp]
Serve = Callable[[LiveApp], Serving]

HANDSHAKE = (
    b"GET /live/socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
    b"X-User: ann\r\n\r\n"
)
QUICK: dict[str, Any] = {
    "LIVE_HEARTBEAT_S": 0.5,
    "LIVE_PRESENCE": ["a"],
    "LIVE_PRESENCE_GRACE_S": 0.05,
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "WATCH_INTERVAL_S", 0.1)
    monkeypatch.setattr(presence_tracker, "WRITE_INTERVAL_S", 0.05)


def frame(payload: bytes, opcode: int = 0x1) -> bytes:
    """Return a client's frame, masked by zeros."""
    return struct.pack("!BB", 0x80 | opcode, 0x80 | len(payload)) + bytes(4) + payload


@contextlib.contextmanager
def mute_socket(served: Serving) -> Iterator[socket.socket]:
    """Yield a WebSocket of ann's that follows `a` and from then on answers nothing."""
    with connect(served.address) as sock:
        sock.sendall(HANDSHAKE + frame(b'{"type":"subscribe","channels":["a"]}'))
        heard = b""
        while b"heartbeat" not in heard:
            heard += sock.recv(65536)
        yield sock


def hub(served: Serving, live_app: LiveApp) -> Hub:
    return served.on_loop(lambda: hub_of(state_of(live_app.app), served.server))


def present(live_app: LiveApp) -> Presence:
    with live_app.app.app_context():
        return live_app.live.presence("a")


def test_client_whose_pong_does_not_come_is_gone_with_its_place_and_presence(
    make_live_app: MakeApp, serve: Serve
) -> None:
    live_app = make_live_app(LIVE_MAX_PER_USER=1, **QUICK)
    served = serve(live_app)
    with mute_socket(served) as sock:
        wait_for(lambda: present(live_app).users == {"ann": 1}, "ann to be there")
        heard = b""
        while b"no pong came" not in heard:
            heard += sock.recv(65536)
        # Its closing frame says 1008 (policy), and why.
        assert struct.pack("!H", 1008) + b"no pong came to 2 pings" in heard
        wait_for(lambda: present(live_app).count == 0, "ann to be gone")
        assert hub(served, live_app).stats()["gone"] == {"silent": 1}
        with opened(served, additional_headers={"X-User": "ann"}) as client:
            client.follow("a")


def test_client_that_answers_pings_stays(make_live_app: MakeApp, serve: Serve) -> None:
    live_app = make_live_app(**QUICK)
    served = serve(live_app)
    with opened(served) as client:
        client.follow("a")
        for _ in range(5):
            client.hear_until(lambda m: m.get("event") == "heartbeat")
        assert subscribers(served, live_app) == 1


def test_client_that_subscribes_often_may_answer_every_ping(
    make_live_app: MakeApp, serve: Serve
) -> None:
    live_app = make_live_app(LIVE_MAX_MESSAGES_PER_S=1000)
    with opened(serve(live_app)) as client:
        # The heartbeat that ends catching up is a ping, too.
        for turn in range(40):
            client.follow(f"c{turn}")
        client.say(type="ping")
        assert client.hear()["type"] == "pong"


def test_client_that_says_anything_needs_no_pong(make_live_app: MakeApp, serve: Serve) -> None:
    live_app = make_live_app(**QUICK)
    served = serve(live_app)
    with mute_socket(served) as sock:
        beats = 0
        while beats < 5:
            heard = sock.recv(65536).count(b"heartbeat")
            beats += heard
            if heard:
                sock.sendall(frame(b'{"type":"ping"}'))
        assert subscribers(served, live_app) == 1


def test_socket_that_never_subscribes_is_closed(make_live_app: MakeApp, serve: Serve) -> None:
    live_app = make_live_app(LIVE_SUBSCRIBE_TIMEOUT_S=0.5)
    served = serve(live_app)
    with opened(served) as client:
        client.say(type="ping")
        assert client.closed() == (
            1008,
            "it subscribed to nothing within 0.5 s (LIVE_SUBSCRIBE_TIMEOUT_S)",
        )
    assert hub(served, live_app).stats()["gone"] == {"unsubscribed": 1}


def test_socket_that_has_subscribed_is_not_closed(make_live_app: MakeApp, serve: Serve) -> None:
    live_app = make_live_app(LIVE_SUBSCRIBE_TIMEOUT_S=1, LIVE_HEARTBEAT_S=0.5)
    with opened(serve(live_app)) as client:
        client.follow("a")
        for _ in range(6):
            client.hear_until(lambda m: m.get("event") == "heartbeat")
        client.say(type="unsubscribe", channels=["a"])
        client.hear_until(lambda m: m.get("type") == "unsubscribed")
        client.follow("b")


def test_sockets_that_have_not_subscribed_take_nobodys_place(
    make_live_app: MakeApp, serve: Serve
) -> None:
    live_app = make_live_app(LIVE_MAX_PER_ADDRESS=2, LIVE_MAX_SUBSCRIBERS=2)
    served = serve(live_app)
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(opened(served)) for _ in range(2)]
        with SseClient(served, "a").opened(), SseClient(served, "a").opened():
            stats = hub(served, live_app).stats()
            assert (stats["guests"], stats["subscribers"]) == (2, 2)
            # Who wants a place finds none, and who has not begun is bounded too.
            idle[0].say(type="subscribe", channels=["a"])
            assert idle[0].closed()[0] == 1013
            stack.enter_context(opened(served))
            with opened(served) as third:
                assert third.closed()[0] == 1013
        wait_for(lambda: subscribers(served, live_app) == 0, "the streams to be gone")
        idle[1].follow("a")
        stats = hub(served, live_app).stats()
        assert (stats["guests"], stats["subscribers"]) == (1, 1)
    wait_for(lambda: subscribers(served, live_app) == 0, "everybody to be gone")
    live = hub(served, live_app)
    assert live.stats()["guests"] == 0
    assert not live._quota._of_address
    assert not live._guest_quota._of_address


def test_clients_are_counted_by_the_address_that_the_application_knows(
    make_live_app: MakeApp, serve: Serve
) -> None:
    live_app = make_live_app(LIVE_MAX_PER_ADDRESS=1)
    live_app.app.wsgi_app = ProxyFix(live_app.app.wsgi_app)  # type: ignore[method-assign]
    served = serve(live_app)

    def of(address: str) -> dict[str, str]:
        return {"X-Forwarded-For": address}

    with contextlib.ExitStack() as stack:
        stack.enter_context(SseClient(served, "a", headers=of("203.0.113.1")).opened())
        second = stack.enter_context(opened(served, additional_headers=of("203.0.113.2")))
        second.follow("a")
        third = stack.enter_context(opened(served, additional_headers=of("203.0.113.3")))
        fourth = stack.enter_context(opened(served, additional_headers=of("203.0.113.2")))
        fourth.say(type="subscribe", channels=["a"])
        assert "203.0.113.2 has 1 live connections" in str(fourth.closed()[1])
        third.follow("a")
        for path in ("/live/events", "/live/poll"):
            status, _, body = get(served, path, of("203.0.113.1"), channel="a")
            assert status == 429
            assert "203.0.113.1 has 1 live connections" in body["message"]
        assert get(served, "/live/poll", of("203.0.113.4"), channel="a", timeout_s=0)[0] == 200
    wait_for(lambda: subscribers(served, live_app) == 0, "everybody to be gone")
    assert not hub(served, live_app)._quota._of_address


def test_client_with_a_ticket_is_counted_by_the_address_of_before(
    make_live_app: MakeApp, serve: Serve
) -> None:
    live_app = make_live_app(LIVE_MAX_PER_ADDRESS=1)
    served = serve(live_app)
    tickets, place = state_of(live_app.app).tickets, parse_cursor(live_app.cursor())
    assert tickets is not None
    with contextlib.ExitStack() as stack:
        for n in range(2):
            ticket = tickets.issue(NOBODY, ["a"], place, time.time(), f"203.0.113.{n}")
            client = stack.enter_context(opened(served))
            client.follow("a", after=str(place), ticket=ticket)
            stack.enter_context(
                SseClient(
                    served,
                    "a",
                    ticket=tickets.issue(NOBODY, ["a"], place, time.time(), f"203.0.113.1{n}"),
                ).opened()
            )
        # Which says nothing of who has none.
        idle = stack.enter_context(opened(served))
        with opened(served) as another:
            assert another.closed()[0] == 1013
        idle.follow("a")


def test_refused_subscription_leaves_a_socket_without_a_place(
    make_live_app: MakeApp, serve: Serve
) -> None:
    live_app = make_live_app()
    served = serve(live_app)
    with opened(served) as client:
        client.say(type="subscribe", channels=["user:eve"])
        assert client.hear()["code"] == 403
        stats = hub(served, live_app).stats()
        assert (stats["guests"], stats["subscribers"]) == (1, 0)


def test_stream_that_takes_nothing_is_gone_with_its_presence(
    make_live_app: MakeApp, serve: Serve
) -> None:
    live_app = make_live_app(**QUICK)
    served = serve(live_app)
    with connect(served.address, receive_buffer_bytes=4096) as sock:
        sock.sendall(b"GET /live/events?channel=a HTTP/1.1\r\nHost: a\r\nX-User: ann\r\n\r\n")
        wait_for(lambda: present(live_app).users == {"ann": 1}, "ann to be there")
        for _ in range(16):
            live_app.publish(*["a"] * 10, data="x" * 40_000)
            if hub(served, live_app).dropped_slow:
                break
        wait_for(lambda: present(live_app).count == 0, "ann to be gone")
        assert hub(served, live_app).stats()["gone"] == {"slow": 1}


def test_system_gives_up_a_client_that_acknowledges_nothing_for_two_heartbeats(
    make_live_app: MakeApp, serve: Serve
) -> None:
    live_app = make_live_app(LIVE_HEARTBEAT_S=20)
    served = serve(live_app)
    live = hub(served, live_app)
    with SseClient(served, "a").opened(), opened(served) as client:
        client.follow("a")

        def timeouts_ms() -> list[int]:
            option = (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            return [s._stream.socket.getsockopt(*option) for s in live._subscribers]  # type: ignore[attr-defined]

        assert served.on_loop(timeouts_ms) == [40_000, 40_000]


def test_client_that_asked_in_time_gets_its_answer_and_no_second_try(
    make_live_app: MakeApp, serve: Serve
) -> None:
    """However late in its time it asks: authorising may take as long as that itself."""
    live_app = make_live_app(LIVE_SUBSCRIBE_TIMEOUT_S=1, LIVE_AUTHORIZE_TIMEOUT_S=0.2)
    released = threading.Event()

    @live_app.live.authorize
    def may_read(channel: str) -> bool:
        released.wait(15)
        return channel == "a"

    served = serve(live_app)
    with opened(served) as granted, opened(served) as refused:
        # As if authorising took several times as long: it waits for the log, and may be repeated.
        state = state_of(live_app.app)
        state.options = dataclasses.replace(state.options, authorize_timeout_s=30)
        granted.say(type="subscribe", channels=["a"])
        refused.say(type="subscribe", channels=["b"])
        refused.say(type="subscribe", channels=["c"])
        began_at = time.monotonic()
        # Past the time, and past the other time that was added to it.
        wait_for(lambda: time.monotonic() > began_at + 1.5)
        released.set()
        assert granted.hear_until(lambda m: m.get("type") == "subscribed")
        assert refused.hear()["code"] == 403
        assert refused.closed()[0] == 1008
