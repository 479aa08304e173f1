"""Where a subscription begins: with the last events, after a cursor, or by a reset."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.flasknado.live.endpoints.test_websocket import opened
from tests.flasknado.live.helpers import LiveApp, SseClient, StreamClient, get
from tests.support.serving import Serving


def by_sse(served: Serving, count: int, **query: Any) -> list[Any]:
    with SseClient(served, "a", "b", **query) as client:
        return [(m.event, m.body["data"]) for m in client.read(count)]


def by_ndjson(served: Serving, count: int, **query: Any) -> list[Any]:
    said: list[Any] = []
    with StreamClient(served, "/live/ndjson", channel=["a", "b"], **query) as client:
        for line in client.lines():
            event = json.loads(line)
            if event["event"] != "heartbeat":
                said.append((event["event"], event["data"]))
            if len(said) == count:
                break
    return said


def by_poll(served: Serving, count: int, **query: Any) -> list[Any]:
    answer = get(served, "/live/poll", channel=["a", "b"], **query)[2]
    assert len(answer["events"]) == count
    return [(event["event"], event["data"]) for event in answer["events"]]


def by_websocket(served: Serving, count: int, **query: Any) -> list[Any]:
    with opened(served) as client:
        heard = client.follow("a", "b", **query)
        said = [(m["event"], m["data"]) for m in heard if m.get("event") not in (None, "heartbeat")]
    assert len(said) == count
    return said


def by_websocket_url(served: Serving, count: int, **query: Any) -> list[Any]:
    path = "/live/socket?" + urlencode({"channel": ["a", "b"], **query}, doseq=True)
    said: list[Any] = []
    with opened(served, path) as client:
        assert client.hear()["type"] == "subscribed"
        while len(said) < count:
            event = client.hear()
            said += [(event["event"], event["data"])] if event["event"] != "heartbeat" else []
    return said


TRANSPORTS = [by_sse, by_ndjson, by_poll, by_websocket, by_websocket_url]


@pytest.mark.parametrize("read", TRANSPORTS)
def test_subscription_begins_with_the_last_events_of_each_channel(
    live_app: LiveApp, served: Serving, read: Callable[..., list[Any]]
) -> None:
    for n in range(5):
        live_app.publish("a", "c", data=n)
    live_app.publish("b", data="only")
    live_app.signal("a")
    assert read(served, 3, last=2) == [("note", 3), ("note", 4), ("note", "only")]


@pytest.mark.parametrize("read", TRANSPORTS)
def test_cursor_that_is_none_is_a_reset(served: Serving, read: Callable[..., list[Any]]) -> None:
    for after in ("nonsense", "", "17", "e:-1", "e:1e3", "e:99999999999999999999"):
        assert read(served, 1, after=after) == [("reset", None)], after


def test_cursor_goes_before_the_last_events(live_app: LiveApp, served: Serving) -> None:
    live_app.publish("a", data="old")
    cursor = live_app.cursor()
    live_app.publish("a", data="new")
    with SseClient(served, "a", last=2, after=cursor) as client:
        assert client.read(1)[0].body["data"] == "new"
    with SseClient(served, "a", headers={"Last-Event-ID": cursor}, last=2) as client:
        assert client.read(1)[0].body["data"] == "new"


def test_channel_that_is_added_begins_with_its_last_events_and_moves_no_other(
    live_app: LiveApp, served: Serving
) -> None:
    live_app.publish("b", "b", data="old")
    with opened(served) as client:
        client.follow("a")
        live_app.publish("a", data=1)
        assert client.hear()["data"] == 1
        heard = client.follow("b", last=1)
        assert [m["data"] for m in heard if m.get("channel")] == ["old"]
        live_app.publish("a", "b", data=2)
        assert [client.hear()["channel"] for _ in range(2)] == ["a", "b"]
