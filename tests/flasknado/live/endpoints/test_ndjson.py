"""One JSON object a line, over real sockets."""

from __future__ import annotations

import json

from tests.flasknado.live.helpers import LiveApp, StreamClient, get
from tests.support.serving import Serving, serving


def test_stream_begins_with_the_cursor_and_has_the_same_fields(
    live_app: LiveApp, served: Serving
) -> None:
    with StreamClient(served, "/live/ndjson", channel="a") as client:
        assert client.headers["Content-Type"] == "application/x-ndjson"
        lines = client.lines()
        assert json.loads(next(lines)) == {
            "id": live_app.cursor(),
            "channel": None,
            "event": "heartbeat",
            "data": None,
        }
        live_app.publish("a", data=[1])
        assert json.loads(next(lines)) == {
            "id": live_app.cursor(),
            "channel": "a",
            "event": "note",
            "data": [1],
        }


def test_stream_after_a_cursor_has_what_was_missed(live_app: LiveApp, served: Serving) -> None:
    cursor = live_app.cursor()
    live_app.publish("a", "b", "a")
    with StreamClient(served, "/live/ndjson", channel="a", after=cursor) as client:
        lines = client.lines()
        offsets = [json.loads(next(lines))["id"].partition(":")[2] for _ in range(2)]
    assert offsets == ["1", "3"]


def test_stream_of_another_log_is_reset(served: Serving) -> None:
    with StreamClient(served, "/live/ndjson", channel="a", after="other:1") as client:
        assert json.loads(next(client.lines()))["event"] == "reset"


def test_forbidden_channel_is_refused_in_json(served: Serving) -> None:
    status, _, body = get(served, "/live/ndjson", channel="user:bob")
    assert (status, body["code"]) == (403, 403)


def test_drain_ends_the_stream_whole(live_app: LiveApp) -> None:
    with serving(live_app.server) as served:
        client = StreamClient(served, "/live/ndjson", channel="a")
        next(client.lines())
    # An incomplete chunked body would raise.
    last = json.loads(client.response.read())
    assert (last["channel"], last["event"], last["data"]["retry_s"]) == (None, "reconnect", 2)
    assert last["id"] == live_app.cursor()
    client.close()
