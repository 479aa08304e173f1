"""Over sockets: events for others than the tab that caused them, and patterns of channels."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import abort, g

from flasknado.live.event import connection_digest
from tests.flasknado.live.endpoints.test_websocket import opened
from tests.flasknado.live.helpers import DEADLINE_S, LiveApp, SseClient, get
from tests.support.serving import Serving

MakeApp = Callable[..., LiveApp]
Serve = Callable[[LiveApp], Serving]

TAB, OTHER = "a" * 16, "another-tab_0123456789"


@pytest.fixture
def acting(live_app: LiveApp, serve: Serve) -> Serving:
    """Return a server on which POST /act publishes to others, and signals to them."""

    @live_app.app.post("/act")
    def act() -> str:
        live_app.live.publish("a", "acted", 1, to_others=True)
        live_app.db.session.commit()
        live_app.live.signal("a", "acting", 2, to_others=True)
        return "done"

    return serve(live_app)


def post(serving: Serving, path: str, body: str = "", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(*serving.address, timeout=DEADLINE_S)
    connection.request("POST", path, body, {k.replace("_", "-"): v for k, v in headers.items()})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def test_event_for_others_is_not_sent_to_the_tab_that_caused_it(
    live_app: LiveApp, acting: Serving
) -> None:
    cursor = live_app.cursor()
    by = connection_digest(TAB)
    with (
        SseClient(acting, "a", connection=TAB) as own,
        SseClient(acting, "a", headers={"X-Live-Connection": OTHER}) as other,
        opened(acting) as own_socket,
        opened(acting) as socket,
    ):
        own.opened()
        other.opened()
        own_socket.follow("a", connection=TAB)
        socket.follow("a")
        assert post(acting, "/act", X_Live_Connection=TAB) == (200, "done")
        form = {"Content_Type": "application/x-www-form-urlencoded"}
        assert post(acting, "/act", f"live_connection={TAB}", **form) == (200, "done")
        live_app.publish("a", name="last")
        told = [(m.event, m.body["event"], m.body.get("by"), m.body["data"]) for m in other.read(5)]
        acted = [("acted", "acted", by, 1), ("acting", "acting", by, 2)]
        assert set(told) == {*acted, ("last", "last", None, None)}
        heard = socket.hear_until(lambda m: m["event"] == "last")
        assert {m.get("by") for m in heard if m["event"] == "acted"} == {by}
        assert [m.event for m in own.read(1)] == ["last"]
        assert own_socket.hear()["event"] == "last"
    # Nor when it is replayed.
    with SseClient(acting, "a", after=cursor, connection=TAB) as own:
        assert [m.event for m in own.read(1)] == ["last"]
    assert [e["event"] for e in polled(acting, cursor, TAB)] == ["last"]
    assert [e["event"] for e in polled(acting, cursor, OTHER)] == ["acted", "acted", "last"]


def polled(serving: Serving, after: str, connection: str) -> Any:
    _, _, body = get(serving, "/live/poll", channel="a", after=after, connection=connection)
    return body["events"]


def test_event_for_others_goes_to_all_if_nobody_says_who_caused_it(
    live_app: LiveApp, acting: Serving
) -> None:
    with SseClient(acting, "a", connection=TAB) as own, live_app.live.capture() as events:
        own.opened()
        assert post(acting, "/act") == (200, "done")
        assert {m.event for m in own.read(2)} == {"acted", "acting"}
        assert post(acting, "/act", X_Live_Connection=OTHER) == (200, "done")
    assert {event.name for event in events} == {"acted", "acting"}


def test_message_is_of_the_connection_that_it_names_else_of_the_one_that_has_subscribed(
    live_app: LiveApp, acting: Serving
) -> None:
    @live_app.live.on_message("a")
    def take(channel: str, data: Any) -> None:
        live_app.live.publish(channel, "said", data, to_others=True)
        live_app.db.session.commit()

    with opened(acting) as own, opened(acting) as shared:
        own.follow("a", connection=TAB)
        shared.follow("a")
        own.say(type="message", channel="a", data=1, ref=1)
        shared.say(type="message", channel="a", data=2, ref=1, connection=OTHER)
        own.say(type="message", channel="a", data=3, ref=2, connection="short")
        heard = [shared.hear() for _ in range(3)]
        said = [(m["data"], m["by"]) for m in heard if m.get("event") == "said"]
        assert sorted(said) == [(1, connection_digest(TAB)), (2, connection_digest(OTHER))]
        heard = own.hear_until(lambda m: m.get("ref") == 2)
        assert [m["code"] for m in heard if "code" in m] == [400]
        live_app.publish("a", name="last")
        heard += own.hear_until(lambda m: m.get("event") == "last")
        assert [m["data"] for m in heard if m.get("event") == "said"] == [2]


@pytest.mark.parametrize("connection", ["short", "a" * 65, "not an id at all!"])
def test_connection_that_is_no_id_is_refused(acting: Serving, connection: str) -> None:
    """Else a page could name somebody else's by chance, or fill the log."""
    status, _, body = get(acting, "/live/events", channel="a", connection=connection)
    assert (status, body["message"][-50:]) == (
        400,
        "use 16 to 64 random characters out of A-Z, a-z, 0-9, _ and -"[-50:],
    )
    assert post(acting, "/act", X_Live_Connection=connection)[0] == 400
    with opened(acting) as client:
        client.say(type="subscribe", channels=["a"], connection=connection)
        assert client.hear()["code"] == 400


@pytest.fixture
def listing(make_live_app: MakeApp, serve: Serve) -> tuple[LiveApp, Serving, list[str]]:
    """Return an application of which `post:*` may be followed, and what it was asked."""
    live_app = make_live_app(LIVE_PATTERNS=["post:*"])
    asked: list[str] = []

    @live_app.live.authorize
    def may_read(channel: str) -> bool:
        asked.append(channel)
        if channel == "post:gone":
            abort(404)
        if channel == "post:broken":
            raise ValueError("a defect")
        return channel != "post:secret" or g.user == "ann"

    return live_app, serve(live_app), asked


def test_pattern_delivers_what_may_be_read_and_asks_once_for_each_channel(
    listing: tuple[LiveApp, Serving, list[str]],
) -> None:
    live_app, served, asked = listing
    cursor = live_app.cursor()
    live_app.publish("post:1", "post:secret", "post:gone", "posts")
    with (
        SseClient(served, "post:*", after=cursor) as stream,
        opened(served, additional_headers={"X-User": "ann"}) as ann,
    ):
        assert stream.read(1)[0].body["channel"] == "post:1"
        heard = ann.follow("post:*", "posts", after=cursor)
        assert [m["channel"] for m in heard if m.get("event") == "note"] == [
            "post:1",
            "post:secret",
            "posts",
        ]
        live_app.publish("post:secret", "post:2", "post:1")
        assert [m.body["channel"] for m in stream.read(3)[1:]] == ["post:2", "post:1"]
        channels = [ann.hear()["channel"] for _ in range(3)]
        assert channels == ["post:secret", "post:2", "post:1"]
        ann.say(type="message", channel="post:2", data=1, ref=1)
        assert (
            ann.hear_until(lambda m: "ref" in m)[-1]["code"] == 404
        )  # nothing takes it, but ann may send it
        ann.say(type="message", channel="post:gone", data=1, ref=1)
        assert ann.hear()["code"] == 403
    assert "post:*" not in asked
    assert sorted(asked) == sorted(
        ["posts", *(["post:1", "post:2", "post:gone", "post:secret"] * 2)]
    )
    _, _, body = get(served, "/live/poll", channel="post:*", after=cursor)
    assert [e["channel"] for e in body["events"]] == ["post:1", "post:2", "post:1"]


def test_application_that_cannot_decide_loses_the_client_nothing(
    listing: tuple[LiveApp, Serving, list[str]],
) -> None:
    live_app, served, _ = listing
    with SseClient(served, "post:*") as stream:
        stream.opened()
        live_app.publish("post:broken")
        stream.read_to_end()
        assert stream.parser.messages == []
    cursor = live_app.cursor()
    with opened(served) as client:
        client.follow("post:*")
        live_app.publish("post:broken")
        assert client.closed()[0] == 1008
    status, headers, _ = get(served, "/live/poll", channel="post:*", after=cursor)
    assert (status, headers["Retry-After"]) == (503, "2")


@pytest.mark.parametrize("pattern", ["user:*", "*", "post:1*", "po*st", "post:**"])
def test_pattern_that_is_not_offered_is_refused(
    listing: tuple[LiveApp, Serving, list[str]], pattern: str
) -> None:
    _, served, asked = listing
    status, _, body = get(served, "/live/events", channel=pattern)
    assert status == 400
    assert json.dumps(body).count("is not a channel") == 1
    with opened(served) as client:
        client.say(type="subscribe", channels=[pattern])
        assert client.hear()["code"] == 400
    assert asked == []
