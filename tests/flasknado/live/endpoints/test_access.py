"""Access over real sockets: tickets, expiry, revocation, limits, messages to the server."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import abort, g
from websockets.exceptions import ConnectionClosed

from flasknado.live import Identity
from flasknado.live.endpoints.socket_subscriber import (
    DROPPED_LIMIT,
    WAITING_LIMIT,
    SocketSubscriber,
)
from flasknado.live.event import parse_cursor
from flasknado.live.hub.hub import Hub
from tests.flasknado.live.endpoints.test_sse import hub_in
from tests.flasknado.live.endpoints.test_websocket import held_messages, opened, subscribers
from tests.flasknado.live.helpers import LiveApp, SseClient, StreamClient, get, wait_for
from tests.flasknado.live.hub_client import until
from tests.support.serving import Serving, serving

MakeApp = Callable[..., LiveApp]
Serve = Callable[[LiveApp], Serving]
ANN = {"X-User": "ann"}


def test_event_stream_drained_comes_back_by_its_last_id_without_asking_flask(
    live_app: LiveApp, serve: Serve
) -> None:
    with serving(live_app.server) as served:
        client = SseClient(served, "user:ann", headers=ANN).opened()
    client.read_to_end()
    live_app.publish("user:ann", data="missed")
    assert "~" in client.parser.last_event_id
    # As an EventSource does; without the header that would let it in by Flask.
    headers = {"Last-Event-ID": client.parser.last_event_id}
    with SseClient(serve(live_app), "user:ann", headers=headers) as again:
        assert again.read(1)[0].body["data"] == "missed"
    client.close()


def test_socket_drained_comes_back_by_its_ticket(live_app: LiveApp, serve: Serve) -> None:
    with serving(live_app.server) as served:
        context = opened(served, additional_headers=ANN)
        client = context.__enter__()
        client.follow("user:ann")
    notice = client.hear()
    assert (notice["event"], notice["data"]["retry_s"]) == ("reconnect", 2)
    assert client.closed()[0] == 1012
    context.__exit__(None, None, None)
    live_app.publish("user:ann", data="missed")
    with opened(serve(live_app)) as again:
        ticket = notice["data"]["ticket"]
        heard = again.follow("user:ann", after=notice["id"], ticket=ticket)
        assert [m["data"] for m in heard if m.get("channel")] == ["missed"]
        again.say(type="subscribe", channels=["user:bob"], ticket=ticket)
        assert again.hear()["code"] == 403


def test_ticket_of_a_revoked_user_is_ignored(live_app: LiveApp, serve: Serve) -> None:
    with serving(live_app.server) as served:
        client = SseClient(served, "user:ann", headers=ANN).opened()
    client.read_to_end()
    live_app.revoke("ann")
    served = serve(live_app)
    headers = {"Last-Event-ID": client.parser.last_event_id}
    assert get(served, "/live/events", headers, channel="user:ann")[0] == 403
    client.close()


def test_revoke_ends_the_streams_and_sockets_of_a_user(live_app: LiveApp, served: Serving) -> None:
    with (
        SseClient(served, "a", headers=ANN).opened() as stream,
        StreamClient(served, "/live/ndjson", ANN, channel="a") as lines,
        opened(served, additional_headers=ANN) as socket,
        opened(served, additional_headers={"X-User": "bob"}) as other,
    ):
        socket.follow("a")
        other.follow("a")
        wait_for(lambda: subscribers(served, live_app) == 4)
        live_app.revoke("ann")
        assert socket.closed() == (4401, "access has ended: authenticate again")
        stream.read_to_end()
        assert list(lines.lines())
        live_app.publish("a", data="still there")
        assert other.hear()["data"] == "still there"
        assert subscribers(served, live_app) == 1


def test_stream_ends_when_its_session_expires(make_live_app: MakeApp, serve: Serve) -> None:
    served = serve(make_live_app(LIVE_HEARTBEAT_S=0.1))
    ends_at = time.time() + 0.5
    with SseClient(served, "a", headers={**ANN, "X-Expires": str(ends_at)}).opened() as client:
        client.read_to_end()
    assert time.time() >= ends_at


def test_socket_of_a_user_with_too_many_is_closed_1013(
    make_live_app: MakeApp, serve: Serve
) -> None:
    served = serve(make_live_app(LIVE_MAX_PER_USER=1))
    with SseClient(served, "a", headers=ANN).opened():
        status, headers, body = get(served, "/live/events", ANN, channel="a")
        assert (status, headers["Retry-After"]) == (429, "2")
        assert "LIVE_MAX_PER_USER" in body["message"]
        with opened(served, additional_headers=ANN) as client:
            client.say(type="subscribe", channels=["a"])
            code, reason = client.closed()
            assert code == 1013
            assert "LIVE_MAX_PER_USER" in (reason or "")


@pytest.fixture
def chat(live_app: LiveApp) -> LiveApp:
    """Return an application that answers messages."""

    @live_app.live.on_message("chat:*")
    def take(channel: str, data: Any) -> Any:
        if data == "rude":
            abort(403, "be kind")
        if data == "broken":
            raise ValueError("a defect")
        if data == "quiet":
            return None
        if isinstance(data, int):
            live_app.live.publish(channel, "said", data)
            live_app.db.session.commit()
            return None
        return {"user": g.user, "channel": channel, "data": data}

    return live_app


def test_message_runs_in_flasks_context_and_is_answered(chat: LiveApp, served: Serving) -> None:
    with opened(served, additional_headers=ANN) as client:
        client.follow("chat:1")
        client.say(type="message", channel="chat:1", data=["hello"], ref=7)
        assert client.hear() == {
            "type": "reply",
            "ref": 7,
            "data": {"user": "ann", "channel": "chat:1", "data": ["hello"]},
        }
        client.say(type="message", channel="chat:1", data="quiet")
        client.say(type="message", channel="chat:1", data="quiet", ref="r")
        assert client.hear() == {"type": "reply", "ref": "r", "data": None}


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        ({"channel": "chat:1", "data": "rude"}, 403, "be kind"),
        ({"channel": "chat:1", "data": "broken"}, 500, ""),
        ({"channel": "chat:2", "data": 1}, 403, "subscribe to the channel 'chat:2'"),
        ({"channel": "a", "data": 1}, 404, "nothing takes messages"),
        ({"data": 1}, 400, "a channel must be a string"),
    ],
)
def test_message_that_is_refused_says_why_and_repeats_its_ref(
    chat: LiveApp, served: Serving, message: dict[str, Any], code: int, text: str
) -> None:
    with opened(served) as client:
        client.follow("chat:1", "a")
        client.say(type="message", ref="r", **message)
        error = client.hear()
        assert (error["type"], error["code"], error["ref"]) == ("error", code, "r")
        assert text in error["message"]
        assert "defect" not in error["message"]


def test_message_function_without_a_pattern_takes_what_no_other_takes(
    chat: LiveApp, served: Serving
) -> None:
    @chat.live.on_message
    def take_all(channel: str, data: Any) -> Any:
        return f"{channel} for all"

    with opened(served) as client:
        client.follow("a", "chat:1")
        client.say(type="message", channel="a", data=1)
        assert client.hear()["data"] == "a for all"
        client.say(type="message", channel="chat:1", data="hello")
        assert client.hear()["data"]["channel"] == "chat:1"


def test_revocation_while_the_application_is_asked_is_not_overtaken(
    live_app: LiveApp, served: Serving
) -> None:
    asked: list[str] = []

    @live_app.live.authorize
    def may_read(channel: str) -> bool:
        asked.append(channel)
        if len(asked) == 1:
            # It has said yes already when the log-out comes, and the hub hears of that first.
            live_app.revoke("ann")
            head = live_app.cursor()
            hub = hub_in(served, live_app)
            wait_for(lambda: str(hub.cursor) == head)
            return True
        return False

    hub_in(served, live_app)
    assert get(served, "/live/events", ANN, channel="a")[0] == 403
    assert asked == ["a", "a"]


@pytest.mark.parametrize("by", ["application", "ticket"])
@pytest.mark.parametrize("path", ["events", "ndjson", "poll", "socket"])
def test_revocation_while_the_log_is_waited_for_is_not_overtaken(
    live_app: LiveApp, served: Serving, monkeypatch: pytest.MonkeyPatch, by: str, path: str
) -> None:
    """Whenever the hub is waited for, the user is logged out: nothing that was said holds."""
    allowed = [True]
    live_app.live.authorize(lambda channel: allowed[0])
    hub = hub_in(served, live_app)
    headers = dict(ANN)
    if by == "ticket":
        tickets = live_app.app.extensions["live"].tickets
        cursor = live_app.cursor()
        place = parse_cursor(cursor)
        ticket = tickets.issue(Identity("ann"), ["a"], place, time.time())
        headers["Last-Event-ID"] = f"{cursor}~{ticket}"
    ready = type(hub).ready

    def log_out() -> str:
        allowed[0] = False
        live_app.revoke("ann")
        return live_app.cursor()

    async def slow(self: Hub) -> None:
        await ready(self)
        head = await asyncio.to_thread(log_out)
        await until(lambda: str(self.cursor) == head)

    if path == "socket":
        with opened(served, additional_headers=ANN) as client:
            monkeypatch.setattr(type(hub), "ready", slow)
            more = {"ticket": ticket} if by == "ticket" else {}
            client.say(type="subscribe", channels=["a"], **more)
            assert client.hear()["code"] == 403
    else:
        monkeypatch.setattr(type(hub), "ready", slow)
        assert get(served, f"/live/{path}", headers, channel="a", timeout_s=0)[0] == 403
    assert subscribers(served, live_app) == 0


def test_clock_that_is_set_back_locks_nobody_out(
    live_app: LiveApp, served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SseClient(served, "a", headers=ANN).opened() as client:
        live_app.revoke("ann")
        client.read_to_end()
    clock = time.time
    for offset_s in (-3600, 3600):
        monkeypatch.setattr(time, "time", lambda offset_s=offset_s: clock() + offset_s)
        assert get(served, "/live/poll", ANN, channel="a", timeout_s=0)[0] == 200


@pytest.fixture
def session(live_app: LiveApp) -> dict[str, str]:
    """Return a session that the server keeps: who its browser is, whatever its cookie."""
    session = {"user": "ann"}

    @live_app.app.before_request
    def look_up() -> None:
        g.user = session.get("user")

    live_app.live.on_message("*")(lambda channel, data: [g.user, data])
    return session


@pytest.mark.parametrize("user", ["bob", None])
def test_message_of_somebody_else_than_subscribed_is_not_taken(
    live_app: LiveApp, served: Serving, session: dict[str, str], user: str | None
) -> None:
    with opened(served) as client:
        client.follow("a")
        client.say(type="message", channel="a", data=1, ref=1)
        assert client.hear()["data"] == ["ann", 1]
        session.clear()
        if user is not None:
            session["user"] = user
        client.say(type="message", channel="a", data=2, ref=2)
        assert client.closed()[0] == 4401
    assert hub_in(served, live_app).stats()["gone"] == {"changed": 1}


def test_subscription_of_somebody_else_ends_the_connection(
    live_app: LiveApp, served: Serving, session: dict[str, str]
) -> None:
    with opened(served) as client:
        client.follow("a", "user:ann")
        session["user"] = "bob"
        client.say(type="subscribe", channels=["user:bob"])
        assert client.closed()[0] == 4401


def test_ticket_lets_nobody_speak_for_its_user(
    live_app: LiveApp, served: Serving, session: dict[str, str]
) -> None:
    """Its page may read on, as ann; the browser's session is bob's."""
    tickets = live_app.app.extensions["live"].tickets
    place = parse_cursor(live_app.cursor())
    ticket = tickets.issue(Identity("ann"), ["user:ann"], place, time.time())
    session["user"] = "bob"
    with opened(served) as client:
        who = client.follow("user:ann", ticket=ticket)[0]["who"]
        assert who == tickets.page_key("ann")
        client.say(type="message", channel="user:ann", data=1, ref=1)
        assert client.closed()[0] == 4401
    with opened(served) as client:
        client.follow("a")
        client.say(type="subscribe", channels=["user:ann"], ticket=ticket)
        assert client.closed()[0] == 4401


def test_message_after_a_change_of_password_is_not_taken(
    live_app: LiveApp, served: Serving
) -> None:
    generation = [1]
    live_app.live.identity(lambda: Identity("ann", generation=generation[0]))
    live_app.live.on_message("*")(lambda channel, data: data)
    with opened(served) as client:
        client.follow("a")
        client.say(type="message", channel="a", data=1)
        assert client.hear()["data"] == 1
        generation[0] = 2
        client.say(type="message", channel="a", data=2)
        assert client.closed()[0] == 4401


def test_change_of_password_spares_who_made_it(live_app: LiveApp, served: Serving) -> None:
    generation = [1]
    live_app.live.identity(lambda: Identity("ann", generation=generation[0]))
    with SseClient(served, "a").opened() as old:
        generation[0] = 2
        with SseClient(served, "a").opened() as new:
            with live_app.app.app_context():
                live_app.live.revoke("ann", generation=2)
                live_app.db.session.commit()
            old.read_to_end()
            live_app.publish("a", data="still there")
            assert new.read(1)[0].body["data"] == "still there"


def test_messages_of_a_client_are_taken_in_order(chat: LiveApp, served: Serving) -> None:
    with opened(served) as client:
        client.follow("chat:1")
        for n in range(60):
            client.say(type="message", channel="chat:1", data=n)
        assert [client.hear()["data"] for _ in range(60)] == list(range(60))


def test_messages_that_fill_the_queue_while_one_is_answered_do_not_stop_the_reading(
    live_app: LiveApp, served: Serving
) -> None:
    begun, released = held_messages(live_app)
    with opened(served) as client:
        client.follow("chat:1")
        client.say(type="message", channel="chat:1", data=0)
        assert begun.wait(15)
        for n in range(1, WAITING_LIMIT):
            client.say(type="message", channel="chat:1", data=n)
        hub = hub_in(served, live_app)
        (subscriber,) = served.on_loop(lambda: list(hub._subscribers))
        assert isinstance(subscriber, SocketSubscriber)
        wait_for(lambda: not served.on_loop(lambda: subscriber._reading))
        released.set()
        client.say(type="message", channel="chat:1", data="last")
        heard = [client.hear()["data"] for _ in range(WAITING_LIMIT + 1)]
    assert heard == [*range(WAITING_LIMIT), "last"]


def test_messages_over_the_rate_are_dropped_with_an_error(
    make_live_app: MakeApp, serve: Serve
) -> None:
    with opened(serve(make_live_app(LIVE_MAX_MESSAGES_PER_S=0.5))) as client:
        client.say(type="ping")
        assert client.hear()["type"] == "pong"
        client.say(type="ping")
        error = client.hear()
        assert (error["code"], "LIVE_MAX_MESSAGES_PER_S" in error["message"]) == (429, True)


def test_client_that_goes_on_over_the_rate_is_closed_1008(
    make_live_app: MakeApp, serve: Serve
) -> None:
    with opened(serve(make_live_app(LIVE_MAX_MESSAGES_PER_S=0.001))) as client:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(DROPPED_LIMIT + 10):
                client.say(type="ping")
        kinds = []
        with contextlib.suppress(ConnectionClosed):
            while True:
                kinds.append(client.hear()["type"])
        assert kinds == ["error"] * DROPPED_LIMIT
        assert client.closed() == (1008, "too many messages: 0.001 a second are allowed")


def test_fragments_and_pings_are_understood(live_app: LiveApp, served: Serving) -> None:
    with opened(served) as client:
        assert client.connection.ping(b"x").wait(15)
        client.connection.send(iter(['{"type": ', '"ping"}']))
        assert client.hear() == {"type": "pong", "id": None}


def test_violation_of_the_websocket_protocol_closes_1002(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flasknado.live.endpoints.socket_subscriber.GOODBYE_TIMEOUT_S", 0.2)
    with opened(served) as client:
        client.connection.socket.sendall(b"\xff\xff")
        assert client.closed()[0] == 1002
