"""Tags: a page subscribes to what its view decided; and the formats, over sockets."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import render_template_string

from flasknado.errors import ConfigurationError
from flasknado.live.event import parse_cursor
from flasknado.live.state import state_of
from flasknado.live.tickets import Identity
from tests.flasknado.live.endpoints.test_websocket import opened
from tests.flasknado.live.helpers import LiveApp, SseClient, get
from tests.support.serving import Serving

ANN = {"X-User": "ann"}
SECRET = "user:nobody-but-by-a-tag"


@pytest.fixture
def tagged(live_app: LiveApp, served: Serving) -> Callable[..., str]:
    """Return a function that returns the tag in a page that a user loads."""

    @live_app.app.get("/page/<path:channels>")
    def page(channels: str) -> str:
        template = "{{ live.tag(*channels) }}"
        return render_template_string(template, channels=channels.split(","))

    def load(*channels: str, user: str | None = "ann") -> str:
        headers = {} if user is None else {"X-User": user}
        status, _, body = get(served, "/page/" + ",".join(channels), headers)
        assert status == 200
        return str(body.decode())

    return load


def test_tag_subscribes_its_user_to_what_the_view_decided(
    live_app: LiveApp, served: Serving, tagged: Callable[..., str]
) -> None:
    tag = tagged(SECRET, "b")
    cursor = live_app.cursor()
    live_app.publish(SECRET, "b", "c")
    with SseClient(served, "c", tag=tag, after=cursor, headers=ANN) as stream:
        assert [m.body["channel"] for m in stream.read(3)] == [SECRET, "b", "c"]
    _, _, body = get(served, "/live/poll", ANN, tag=tag, after=cursor)
    assert [e["channel"] for e in body["events"]] == [SECRET, "b"]
    for headers in ({}, {"X-User": "bob"}):
        status, _, body = get(served, "/live/poll", headers, tag=tag, after=cursor)
        assert (status, body["message"]) == (403, f"you may not read the channel {SECRET!r}")


def test_tag_of_an_anonymous_page_is_good_for_all(
    served: Serving, tagged: Callable[..., str]
) -> None:
    tag = tagged(SECRET, user=None)
    for headers in ({}, ANN):
        assert get(served, "/live/poll", headers, tag=tag, timeout_s=0)[0] == 200


@pytest.mark.parametrize("part", [{}, {"channel": SECRET}])
def test_revocation_takes_what_a_tag_gives(
    live_app: LiveApp, served: Serving, tagged: Callable[..., str], part: dict[str, Any]
) -> None:
    old, others = tagged(SECRET), tagged("user:ann")
    with SseClient(served, tag=old, headers=ANN) as stream:
        stream.opened()
        with live_app.app.app_context():
            live_app.live.revoke("ann", **part)
            live_app.db.session.commit()
        stream.read_to_end()
    assert get(served, "/live/poll", ANN, tag=old, timeout_s=0)[0] == 403
    # The application is asked about it again, and allows this one.
    assert get(served, "/live/poll", ANN, tag=others, timeout_s=0)[0] == 200
    assert get(served, "/live/poll", ANN, tag=tagged(SECRET), timeout_s=0)[0] == 200


def test_tag_that_is_old_or_not_ours_is_refused(
    live_app: LiveApp, served: Serving, tagged: Callable[..., str]
) -> None:
    tickets = state_of(live_app.app).tickets
    assert tickets is not None
    place = parse_cursor(live_app.cursor())
    day_s = live_app.app.extensions["live"].options.tag_lifetime_s
    now = time.time()
    bad = [
        "",
        "nonsense",
        tagged(SECRET)[::-1],
        tickets.issue(Identity("ann"), [SECRET], place, now),  # a ticket, and no tag
        tickets.issue_tag(Identity("ann"), [SECRET], place, now - day_s - 1),
        tickets.issue_tag(Identity("ann"), [SECRET], place, now + 3600),
    ]
    for tag in bad:
        status, _, body = get(served, "/live/poll", ANN, tag=tag, timeout_s=0)
        assert (status, body["message"]) == (
            403,
            "the tag is not valid, or has expired: reload the page",
        )
    good = tickets.issue_tag(Identity("ann"), [SECRET], place, now - day_s + 60)
    assert get(served, "/live/poll", ANN, tag=good, timeout_s=0)[0] == 200
    assert get(served, "/live/poll", ANN, tag=[good] * 17, timeout_s=0)[0] == 400


def test_tag_without_a_key_or_a_channel_is_an_error(live_app: LiveApp) -> None:
    with live_app.app.test_request_context():
        with pytest.raises(ValueError, match="a tag needs a channel"):
            live_app.live.tag()
        with pytest.raises(ValueError, match="is not a channel"):
            live_app.live.tag("post:*")
        state_of(live_app.app).tickets = None
        with pytest.raises(ConfigurationError, match="which is not set"):
            live_app.live.tag("a")


def test_format_of_the_query_is_that_of_the_stream_and_of_the_socket(
    live_app: LiveApp, served: Serving, tagged: Callable[..., str]
) -> None:
    cursor = live_app.cursor()
    with live_app.app.app_context():
        live_app.live.render("a", None, target="n1", action="remove")
        live_app.live.publish("a", "note", "<b>")
        live_app.db.session.commit()
    with SseClient(served, "a", after=cursor, format="turbo") as stream:
        removed, note = stream.read(2)
        assert removed.event == "message"
        assert removed.data == '<turbo-stream action="remove" target="n1"></turbo-stream>'
        assert (note.event, note.body["data"]) == ("note", "<b>")
    path = f"/live/socket?channel=a&format=htmx2&after={cursor}"
    with opened(served, path) as client:
        assert client.hear() == {"type": "subscribed", "channels": ["a"], "who": "anonymous"}
        assert client.connection.recv() == '<div hx-swap-oob="delete:#n1"></div>'
        assert client.hear()["data"] == "<b>"
    for endpoint, wire_format in (("events", "xml"), ("socket", "datastar"), ("events", "")):
        headers = {"Connection": "Upgrade", "Upgrade": "websocket"} | {
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
        }
        headers = headers if endpoint == "socket" else {}
        answer = get(served, f"/live/{endpoint}", headers, channel="a", format=wire_format)
        assert (answer[0], answer[2]["message"][:18]) == (400, "there is no format")


def test_socket_whose_channels_are_refused_is_not_opened(served: Serving) -> None:
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
    }
    for query, status in (("user:bob", 403), ("!", 400)):
        assert get(served, "/live/socket", ANN | headers, channel=query)[0] == status


def test_form_that_htmx_sends_is_a_message_to_the_only_channel(
    live_app: LiveApp, served: Serving
) -> None:
    @live_app.live.on_message("chat:*")
    def take(channel: str, data: Any) -> Any:
        return [channel, data]

    path = "/live/socket?channel=chat:1&format=htmx"
    with opened(served, path) as client:
        client.hear()
        client.say(text="hello", type="subscribe", headers={"HX-Request": "true"})
        expected = {
            "type": "reply",
            "ref": None,
            "data": ["chat:1", {"text": "hello", "type": "subscribe"}],
        }
        assert client.hear_until(lambda m: "ref" in m)[-1] == expected
    with opened(served, path + "&channel=chat:2") as client:
        client.hear()
        client.say(text="hello", HEADERS={})
        assert client.hear_until(lambda m: "code" in m)[-1]["code"] == 400
        client.say(text="hello", channel="chat:2", HEADERS={})
        assert client.hear_until(lambda m: "ref" in m)[-1]["data"] == ["chat:2", {"text": "hello"}]
