"""WebSocket, read by the `websockets` library."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from flasknado.live.hub.hub import hub_of
from flasknado.live.origins import CORS_KEY, OriginPolicy
from flasknado.live.state import state_of
from tests.flasknado.live.helpers import DEADLINE_S, LiveApp, get, wait_for
from tests.support.serving import Serving, serving


class Socket:
    """A client that speaks JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def say(self, **message: Any) -> None:
        self.connection.send(json.dumps(message))

    def hear(self) -> Any:
        return json.loads(self.connection.recv(timeout=DEADLINE_S))

    def hear_until(self, wanted: Callable[[Any], bool]) -> list[Any]:
        heard: list[Any] = []
        while not heard or not wanted(heard[-1]):
            heard.append(self.hear())
        return heard

    def follow(self, *channels: str, **more: Any) -> list[Any]:
        """Subscribe; return what came up to and including the heartbeat that ends catching up."""
        self.say(type="subscribe", channels=channels, **more)
        return self.hear_until(lambda m: m.get("event") in ("heartbeat", "reset"))

    def closed(self) -> tuple[int | None, str | None]:
        """Read to the end; return the close code and reason."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.connection.recv(timeout=DEADLINE_S)
        return self.connection.close_code, self.connection.close_reason


@contextlib.contextmanager
def opened(served: Serving, path: str = "/live/socket", **options: Any) -> Iterator[Socket]:
    url = f"ws://{served.host}:{served.port}{path}"
    with connect(url, open_timeout=DEADLINE_S, proxy=None, **options) as connection:
        yield Socket(connection)


def held_messages(live_app: LiveApp) -> tuple[threading.Event, threading.Event]:
    """Have messages to `chat:*` answered only once the second event is set; the first says when
    one has come.
    """
    begun, released = threading.Event(), threading.Event()

    @live_app.live.on_message("chat:*")
    def take(channel: str, data: Any) -> Any:
        begun.set()
        assert released.wait(15)
        return data

    return begun, released


def subscribers(served: Serving, live_app: LiveApp) -> int:
    count: int = served.on_loop(
        lambda: hub_of(state_of(live_app.app), served.server).stats()["subscribers"]
    )
    return count


def test_subscribe_is_confirmed_with_the_cursor_and_events_follow(
    live_app: LiveApp, served: Serving
) -> None:
    live_app.publish("a")
    with opened(served) as client:
        assert client.follow("a") == [
            {"type": "subscribed", "channels": ["a"], "who": "anonymous"},
            {"id": live_app.cursor(), "channel": None, "event": "heartbeat", "data": None},
        ]
        live_app.publish("a", data={"n": 1})
        assert client.hear() == {
            "id": live_app.cursor(),
            "channel": "a",
            "event": "note",
            "data": {"n": 1},
        }


def test_subscribe_after_a_cursor_gets_exactly_what_was_missed(
    live_app: LiveApp, served: Serving
) -> None:
    with opened(served) as client:
        client.follow("a")
        live_app.publish("a")
        last = client.hear()["id"]
    live_app.publish("a", "b", "a", data="missed")
    with opened(served) as client:
        heard = client.follow("a", after=last)
        assert [m["id"].partition(":")[2] for m in heard[1:-1]] == ["2", "4"]
        live_app.publish("a", data="live")
        assert client.hear()["data"] == "live"


def test_second_subscribe_adds_a_channel_without_losing_the_first(
    live_app: LiveApp, served: Serving
) -> None:
    with opened(served) as client:
        client.follow("a")
        live_app.publish("a", "b", data=1)
        assert client.hear()["channel"] == "a"
        cursor = live_app.cursor().partition(":")[0] + ":0"
        heard = client.follow("b", after=cursor)
        assert [m["channel"] for m in heard if m.get("event") == "note"] == ["b"]
        live_app.publish("a", "b", "c")
        assert [client.hear()["channel"] for _ in range(2)] == ["a", "b"]


def test_unsubscribe_ends_a_channel(live_app: LiveApp, served: Serving) -> None:
    with opened(served) as client:
        client.follow("a", "b")
        client.say(type="unsubscribe", channels=["a"])
        assert client.hear() == {"type": "unsubscribed", "channels": ["a"]}
        live_app.publish("a", "b")
        assert client.hear()["channel"] == "b"


def test_ping_is_answered_with_the_place(live_app: LiveApp, served: Serving) -> None:
    with opened(served) as client:
        client.say(type="ping")
        assert client.hear() == {"type": "pong", "id": None}
        client.follow("a")
        client.say(type="ping")
        assert client.hear() == {"type": "pong", "id": live_app.cursor()}


def test_cursor_of_another_log_is_reset(live_app: LiveApp, served: Serving) -> None:
    live_app.publish("a")
    with opened(served) as client:
        assert client.follow("a", after="other:1")[-1]["event"] == "reset"


@pytest.mark.parametrize(
    ("message", "status", "text"),
    [
        ("{", 400, "not JSON"),
        ("[" * 5000, 400, "not JSON"),
        ("[]", 400, "not a JSON object"),
        ("{}", 400, "must be subscribe, unsubscribe, message or ping, not 'None'"),
        ('{"type": "shout"}', 400, "must be subscribe, unsubscribe, message or ping, not 'shout'"),
        ('{"type": "subscribe"}', 400, "channels must be a list"),
        ('{"type": "subscribe", "channels": []}', 400, "channels must be a list"),
        ('{"type": "subscribe", "channels": "a"}', 400, "channels must be a list"),
        ('{"type": "subscribe", "channels": [1]}', 400, "must be a string"),
        ('{"type": "subscribe", "channels": ["a b"]}', 400, "'a b' is not a channel"),
        ('{"type": "subscribe", "channels": ["a"], "last": 101}', 400, "LIVE_MAX_LAST"),
        ('{"type": "subscribe", "channels": ["a"], "last": true}', 400, "LIVE_MAX_LAST"),
        ('{"type": "subscribe", "channels": ["a"], "last": [1]}', 400, "LIVE_MAX_LAST"),
        ('{"type": "subscribe", "channels": ["a"], "after": 1}', 400, "must be a cursor"),
        ('{"type": "subscribe", "channels": ["user:x"]}', 403, "may not read"),
        (b"\xff", 400, "not JSON"),
    ],
)
def test_bad_message_gets_an_error_and_the_connection_lives_on(
    live_app: LiveApp, served: Serving, message: str | bytes, status: int, text: str
) -> None:
    with opened(served) as client:
        client.connection.send(message)
        error = client.hear()
        assert (error["type"], error["success"], error["code"]) == ("error", False, status)
        assert text in error["message"]
        client.follow("a")
        live_app.publish("a")
        assert client.hear()["channel"] == "a"


def test_error_repeats_what_it_is_about(served: Serving) -> None:
    with opened(served) as client:
        client.say(type="subscribe", channels=["user:x"], after="e:1")
        error = client.hear()
        assert (error["channels"], error["after"]) == (["user:x"], "e:1")


def test_message_too_big_closes_1009(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flasknado.live.endpoints.socket_subscriber.GOODBYE_TIMEOUT_S", 0.2)
    with opened(served) as client:
        client.connection.send("x" * 16_385)
        assert client.closed() == (1009, "the message is larger than 16384 bytes")


def test_too_many_channels_in_all_are_refused(
    make_live_app: Callable[..., LiveApp], serve: Callable[[LiveApp], Serving]
) -> None:
    with opened(serve(make_live_app(LIVE_MAX_CHANNELS=2))) as client:
        client.follow("a", "b")
        client.follow("a")
        client.say(type="subscribe", channels=["c"])
        assert "2 channels (LIVE_MAX_CHANNELS)" in client.hear()["message"]


def test_user_of_the_handshake_is_asked_for_every_subscribe(
    live_app: LiveApp, served: Serving
) -> None:
    with opened(served, additional_headers={"X-User": "bob"}) as client:
        client.follow("user:bob")
        client.say(type="subscribe", channels=["user:ann"])
        assert client.hear()["code"] == 403
        live_app.publish("user:bob", "user:ann")
        assert client.hear()["channel"] == "user:bob"


@pytest.mark.parametrize("origin", ["same", None])
def test_same_origin_and_programs_are_accepted(served: Serving, origin: str | None) -> None:
    with opened(served, origin=served.url if origin else None) as client:
        client.follow("a")


def test_other_origin_is_refused_unless_the_cors_policy_allows_it(
    live_app: LiveApp, served: Serving
) -> None:
    with pytest.raises(InvalidStatus) as refused, opened(served, origin="https://evil.example"):
        pass
    assert refused.value.response.status_code == 403
    live_app.app.extensions[CORS_KEY] = OriginPolicy(["https://good.example"])
    with opened(served, origin="https://good.example") as client:
        client.follow("a")
    with pytest.raises(InvalidStatus), opened(served, origin="https://evil.example"):
        pass


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "nonsense"])
def test_origin_that_is_malformed_is_refused(served: Serving, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused, opened(served, origin=origin):
        pass
    assert refused.value.response.status_code == 403


def test_plain_get_is_refused(served: Serving) -> None:
    status, headers, body = get(served, "/live/socket")
    assert (status, headers["Upgrade"], body["code"]) == (426, "websocket", 426)


def test_heartbeat_carries_the_head_and_pings(
    make_live_app: Callable[..., LiveApp], serve: Callable[[LiveApp], Serving]
) -> None:
    live_app = make_live_app(LIVE_HEARTBEAT_S=0.5)
    with opened(serve(live_app)) as client:
        client.follow("quiet")
        live_app.publish("busy")
        head = live_app.cursor()
        client.hear_until(lambda m: m["event"] == "heartbeat" and m["id"] == head)


def test_client_that_leaves_is_forgotten(live_app: LiveApp, served: Serving) -> None:
    with opened(served) as client:
        client.follow("a")
        assert subscribers(served, live_app) == 1
    wait_for(lambda: subscribers(served, live_app) == 0, "the client to be forgotten")


def test_client_that_vanishes_is_forgotten(live_app: LiveApp, served: Serving) -> None:
    with opened(served) as client:
        client.follow("a")
        # A close() alone would wait for the thread that reads.
        client.connection.socket.shutdown(socket.SHUT_RDWR)
        wait_for(lambda: subscribers(served, live_app) == 0, "the client to be forgotten")


def test_too_many_clients_are_closed_1013(
    make_live_app: Callable[..., LiveApp], serve: Callable[[LiveApp], Serving]
) -> None:
    served = serve(make_live_app(LIVE_MAX_SUBSCRIBERS=1))
    with opened(served) as first:
        first.follow("a")
        with opened(served) as second:
            second.say(type="subscribe", channels=["a"])
            assert second.closed()[0] == 1013


def test_drain_closes_1012(live_app: LiveApp) -> None:
    with contextlib.ExitStack() as stack:
        with serving(live_app.server) as served:
            clients = [stack.enter_context(opened(served)) for _ in range(3)]
            for client in clients:
                client.follow("a")
        for client in clients:
            assert client.closed() == (1012, "the server is restarting: reconnect")


def test_messages_of_one_client_are_dealt_with_in_order(served: Serving) -> None:
    with opened(served) as client:
        for turn in range(20):
            client.say(type="subscribe", channels=[f"c{turn}"])
            client.say(type="unsubscribe", channels=[f"c{turn}"])
        heard: list[Any] = []
        while len(heard) < 40:
            message = client.hear()
            if "type" in message:
                heard.append((message["type"], message["channels"]))
        assert heard == [
            (kind, [f"c{turn}"]) for turn in range(20) for kind in ("subscribed", "unsubscribed")
        ]
