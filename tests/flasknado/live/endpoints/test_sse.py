"""Server-sent events over real sockets."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from flasknado.live.event import parse_cursor
from flasknado.live.hub.hub import Hub, hub_of
from flasknado.live.state import state_of
from tests.flasknado.live.helpers import DEADLINE_S, LiveApp, SseClient, StreamClient, get, wait_for
from tests.support.serving import Serving, serving

EVENTS = "/live/events"


def hub_in(served: Serving, live_app: LiveApp) -> Hub:
    return served.on_loop(lambda: hub_of(state_of(live_app.app), served.server))


def subscribers(served: Serving, live_app: LiveApp) -> int:
    stats: dict[str, Any] = served.on_loop(
        lambda: hub_of(state_of(live_app.app), served.server).stats()
    )
    count: int = stats["subscribers"]
    return count


def test_stream_has_the_headers_of_an_event_stream(served: Serving) -> None:
    with SseClient(served, "a") as client:
        assert client.status == 200
        assert client.headers["Content-Type"] == "text/event-stream"
        assert client.headers["Cache-Control"] == "no-store"
        assert client.headers["X-Accel-Buffering"] == "no"
        assert client.headers["Transfer-Encoding"] == "chunked"
        assert client.headers["Date"]


def test_stream_without_a_cursor_begins_at_the_head_and_says_where(
    live_app: LiveApp, served: Serving
) -> None:
    live_app.publish("a", "a")
    with SseClient(served, "a").opened() as client:
        assert client.parser.last_event_id == live_app.cursor()
        assert client.parser.retry_ms == 2000
        live_app.publish("a", data={"text": "line\nbreak\u2028"}, name="note.created")
        [message] = client.read(1)
    assert message.event == "note.created"
    assert message.id == live_app.cursor()
    assert message.body == {
        "id": message.id,
        "channel": "a",
        "event": "note.created",
        "data": {"text": "line\nbreak\u2028"},
    }


def test_stream_of_several_channels_has_only_theirs_in_order(
    live_app: LiveApp, served: Serving
) -> None:
    with SseClient(served, "a", "b", "a").opened() as client:
        live_app.publish("a", "c", "b")
        live_app.publish("b")
        live_app.publish("a")
        channels = [message.body["channel"] for message in client.read(4)]
    assert channels == ["a", "b", "b", "a"]


def test_reconnect_by_last_event_id_gets_exactly_what_was_missed(
    live_app: LiveApp, served: Serving
) -> None:
    with SseClient(served, "a").opened() as client:
        live_app.publish("a", "a")
        client.read(2)
        last = client.parser.last_event_id
    live_app.publish("a", "b", "a")
    # The page's URL still says where it once began; the header says where it is.
    with SseClient(served, "a", headers={"Last-Event-ID": last}, after="old:0") as client:
        missed = [parse_cursor(message.id).offset for message in client.read(2)]
        live_app.publish("a")
        offsets = [parse_cursor(message.id).offset for message in client.read(3)]
    assert missed == [3, 5]
    assert offsets == [3, 5, 6]


def test_after_a_page_read_its_cursor_nothing_falls_between(
    live_app: LiveApp, served: Serving
) -> None:
    cursor = live_app.cursor()
    live_app.publish("a", data=1)
    with SseClient(served, "a", after=cursor) as client:
        assert client.read(1)[0].body["data"] == 1


def test_resume_of_a_long_absence_is_complete_and_in_order(
    live_app: LiveApp, served: Serving
) -> None:
    cursor = live_app.cursor()
    for _ in range(3):
        live_app.publish(*["a", "b"] * 250, data="x" * 300)
    with SseClient(served, "a", after=cursor) as client:
        live_app.publish("a")
        offsets = [parse_cursor(message.id).offset for message in client.read(751)]
    assert offsets == [*range(1, 1501, 2), 1501]


@pytest.mark.parametrize("where", ["after", "Last-Event-ID"])
def test_cursor_of_another_log_gets_a_reset_and_then_the_flow(
    live_app: LiveApp, served: Serving, where: str
) -> None:
    live_app.publish("a")
    headers = {"Last-Event-ID": "other:1"} if where == "Last-Event-ID" else {}
    query = {"after": "other:1"} if where == "after" else {}
    with SseClient(served, "a", headers=headers, **query) as client:
        [reset] = client.read(1)
        assert (reset.event, reset.id) == ("reset", live_app.cursor())
        assert reset.body == {"id": reset.id, "channel": None, "event": "reset", "data": None}
        live_app.publish("a")
        assert client.read(2)[1].event == "note"


POLYFILLS = ("lastEventId", "lastEventID", "last-event-id", "Last-Event-ID", "evs_last_event_id")
"""The query parameters in which polyfills of EventSource send what browsers send in a field."""


@pytest.mark.parametrize("name", POLYFILLS)
@pytest.mark.parametrize("path", [EVENTS, "/live/ndjson", "/live/poll"])
def test_reconnect_of_a_polyfill_gets_exactly_what_was_missed(
    live_app: LiveApp, served: Serving, name: str, path: str
) -> None:
    page = live_app.cursor()
    live_app.publish("a", data="seen")
    last = live_app.cursor()
    live_app.publish("a", data="missed")
    with StreamClient(served, path, channel="a", after=page, **{name: last}) as client:
        said = next(line for line in client.lines() if "data" in line)
    assert '"missed"' in said
    assert '"seen"' not in said


def test_cursor_is_taken_from_the_field_then_the_polyfill_then_after(
    live_app: LiveApp, served: Serving
) -> None:
    cursors = []
    for number in range(4):
        cursors.append(live_app.cursor())
        live_app.publish("a", data=number)
    field, parameter, after = ({"Last-Event-ID": cursors[3]}, [cursors[0], cursors[2]], cursors[1])
    for headers, query, first in (
        (field, {"lastEventId": parameter, "after": after}, 3),
        ({}, {"lastEventId": parameter, "after": after}, 2),
        ({}, {"lastEventId": "", "after": after}, 1),
    ):
        with SseClient(served, "a", headers=headers, **query) as client:
            assert client.read(1)[0].body["data"] == first


def test_last_event_id_that_is_no_cursor_gets_a_reset(served: Serving) -> None:
    with SseClient(served, "a", headers={"Last-Event-ID": "17"}) as client:
        assert client.read(1)[0].event == "reset"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({}, "no channel is given"),
        ({"channel": "a b"}, "'a b' is not a channel"),
        ({"channel": ["a", ""]}, "'' is not a channel"),
        ({"channel": "a", "last": "-1"}, "last must be a whole number from 0 to 100"),
        ({"channel": "a", "last": "101"}, "(LIVE_MAX_LAST), not '101'"),
        ({"channel": "a", "last": "many"}, "not 'many'"),
        ({"channel": [f"c{n}" for n in range(65)]}, "64 channels (LIVE_MAX_CHANNELS)"),
    ],
)
def test_malformed_request_is_refused_in_json(
    served: Serving, query: dict[str, Any], message: str
) -> None:
    status, headers, body = get(served, EVENTS, **query)
    assert status == 400
    assert headers["Content-Type"].startswith("application/json")
    assert (body["success"], body["code"]) == (False, 400)
    assert message in body["message"]


def test_forbidden_channel_is_refused_before_the_stream(served: Serving) -> None:
    status, _, body = get(served, EVENTS, {"X-User": "ann"}, channel=["a", "user:bob"])
    assert (status, body["code"]) == (403, 403)
    assert body["message"] == "you may not read the channel 'user:bob'"


def test_allowed_user_reads_their_channel(live_app: LiveApp, served: Serving) -> None:
    with SseClient(served, "user:bob", headers={"X-User": "bob"}).opened() as client:
        live_app.publish("user:bob", data="hello")
        assert client.read(1)[0].body["data"] == "hello"


def test_before_request_that_answers_denies_with_its_status_and_message(served: Serving) -> None:
    status, _, body = get(served, EVENTS, {"X-User": "banned"}, channel="a")
    assert (status, body["message"]) == (403, "you are banned")


def test_head_is_answered_as_get_would_begin(served: Serving) -> None:
    status, headers, body = get(served, EVENTS, method="HEAD", channel="a")
    assert (status, headers["Content-Type"], body) == (200, "text/event-stream", b"")
    assert get(served, EVENTS, method="HEAD", channel="user:x")[0] == 403


def test_post_is_not_allowed_and_says_what_is(served: Serving) -> None:
    status, headers, body = get(served, EVENTS, method="POST", channel="a")
    assert (status, headers["Allow"], body["code"]) == (405, "GET, HEAD, OPTIONS", 405)


def test_http_1_0_client_gets_the_stream_unchunked(live_app: LiveApp, served: Serving) -> None:
    with socket.create_connection(served.address, timeout=DEADLINE_S) as client:
        client.sendall(b"GET /live/events?channel=a HTTP/1.0\r\n\r\n")
        received = client.makefile("rb")
        head = b"".join(iter(received.readline, b"\r\n"))
        assert b"chunked" not in head
        assert received.readline() == b"retry: 2000\n"
        assert received.readline() == b"\n"
        assert received.readline() == f"id: {live_app.cursor()}\n".encode()
        live_app.publish("a")
        assert [received.readline() for _ in range(2)][1].startswith(b"id: ")
        assert received.readline() == b"event: note\n"


def test_heartbeat_moves_the_cursor_of_a_quiet_channel(
    make_live_app: Callable[..., LiveApp], serve: Callable[[LiveApp], Serving]
) -> None:
    live_app = make_live_app(LIVE_HEARTBEAT_S=0.1)
    with SseClient(serve(live_app), "quiet").opened() as client:
        live_app.publish("busy", "busy")
        head = live_app.cursor()
        while client.parser.last_event_id != head:
            client._feed()
        assert client.parser.messages == []


def test_client_that_leaves_is_forgotten(live_app: LiveApp, served: Serving) -> None:
    clients = [SseClient(served, "a").opened() for _ in range(3)]
    assert subscribers(served, live_app) == 3
    for client in clients:
        client.close()
    wait_for(lambda: subscribers(served, live_app) == 0, "the clients to be forgotten")


def test_client_that_says_more_is_disconnected(live_app: LiveApp, served: Serving) -> None:
    with SseClient(served, "a").opened() as client:
        client.socket.sendall(b"GET / HTTP/1.1\r\n\r\n")
        wait_for(lambda: subscribers(served, live_app) == 0, "the client to be forgotten")


def test_streams_hold_no_connection_of_the_pool(live_app: LiveApp, served: Serving) -> None:
    clients = [SseClient(served, "a").opened() for _ in range(20)]
    pool: Any = live_app.engine().pool
    wait_for(lambda: pool.checkedout() == 0, "the connections to come back")
    live_app.publish("a")
    for client in clients:
        client.read(1)
        client.close()
    assert pool.checkedout() == 0


def test_slow_client_is_disconnected_and_resumes_while_others_go_on(
    make_live_app: Callable[..., LiveApp], serve: Callable[[LiveApp], Serving]
) -> None:
    limit_bytes = 64 * 1024
    live_app = make_live_app(LIVE_BACKLOG_LIMIT_BYTES=limit_bytes)
    served = serve(live_app)
    hub = hub_in(served, live_app)
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.settimeout(DEADLINE_S)
    slow.connect(served.address)
    slow.sendall(b"GET /live/events?channel=a HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for(lambda: served.on_loop(lambda: hub.stats()["channels"]), "the slow client to join")
    cursor = live_app.cursor()
    backlogs: list[int] = []
    published = 0
    with SseClient(served, "a").opened() as fast:
        while hub.dropped_slow == 0:
            live_app.publish("a", data="x" * 30_000)
            published += 1
            fast.read(published)
            backlogs += served.on_loop(
                lambda: [getattr(s, "backlog_bytes", 0) for s in hub._subscribers]
            )
            assert published < 1000, "the slow client was never disconnected"
        assert max(backlogs) <= limit_bytes
        live_app.publish("a")
        published += 1
        fast.read(published)
    # What the kernel had taken still arrives, and then the end.
    with contextlib.suppress(ConnectionError):
        while slow.recv(65536):
            pass
    slow.close()
    with SseClient(served, "a", after=cursor) as resumed:
        assert len(resumed.read(published)) == published


def test_client_that_takes_nothing_for_several_heartbeats_is_disconnected(
    make_live_app: Callable[..., LiveApp], serve: Callable[[LiveApp], Serving]
) -> None:
    live_app = make_live_app(LIVE_HEARTBEAT_S=0.1, LIVE_BACKLOG_LIMIT_BYTES=10**9)
    served = serve(live_app)
    hub = hub_in(served, live_app)
    with SseClient(served, "a").opened():
        for _ in range(2000):
            if hub.dropped_slow:
                break
            live_app.publish("a", data="x" * 60_000)
        assert hub.dropped_slow == 1


def test_too_many_clients_get_503_and_when_to_come_back(
    make_live_app: Callable[..., LiveApp], serve: Callable[[LiveApp], Serving]
) -> None:
    served = serve(make_live_app(LIVE_MAX_SUBSCRIBERS=1))
    with SseClient(served, "a").opened():
        status, headers, body = get(served, EVENTS, channel="a")
    assert (status, headers["Retry-After"], body["code"]) == (503, "2", 503)
    assert "LIVE_MAX_SUBSCRIBERS" in body["message"]


def test_drain_tells_clients_when_to_reconnect_and_ends_their_streams(live_app: LiveApp) -> None:
    with serving(live_app.server) as served:
        clients = [SseClient(served, "a").opened() for _ in range(5)]
        for client in clients:
            client.parser.retry_ms = None
    for client in clients:
        client.read_to_end()
        assert client.parser.retry_ms == 2000
        client.close()


def test_events_published_in_one_worker_reach_the_clients_of_another(
    make_live_app: Callable[..., LiveApp], serve: Callable[[LiveApp], Serving]
) -> None:
    first, second = make_live_app(), make_live_app()
    with (
        SseClient(serve(first), "a").opened() as one,
        SseClient(serve(second), "a").opened() as two,
    ):
        first.publish("a", data=1)
        second.publish("a", data=2)
        first.publish("a", data=3)
        for client in (one, two):
            assert [message.body["data"] for message in client.read(3)] == [1, 2, 3]


def test_delivery_within_a_process_does_not_wait_for_the_poll(
    make_live_app: Callable[..., LiveApp], serve: Callable[[LiveApp], Serving]
) -> None:
    live_app = make_live_app(LIVE_POLL_S=3600)
    with SseClient(serve(live_app), "a").opened() as client:
        began_at = time.monotonic()
        live_app.publish("a")
        client.read(1)
    assert time.monotonic() - began_at < 5


def test_database_that_does_not_answer_gives_503(
    live_app: LiveApp, serve: Callable[[LiveApp], Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flasknado.live.hub.log_health.READY_TIMEOUT_S", 0.1)
    with live_app.app.app_context():
        live_app.db.drop_all()
    served = serve(live_app)
    status, headers, body = get(served, EVENTS, channel="a")
    assert (status, headers["Retry-After"]) == (503, "2")
    assert "cannot be read at present" in body["message"]


def test_keep_alive_connection_that_was_used_before_can_begin_a_stream(
    live_app: LiveApp, served: Serving
) -> None:
    connection = http.client.HTTPConnection(*served.address, timeout=DEADLINE_S)
    connection.request("GET", "/live/poll?channel=a&timeout_s=0")
    assert json.loads(connection.getresponse().read())["events"] == []
    connection.request("GET", "/live/events?channel=a")
    response = connection.getresponse()
    assert response.readline() == b"retry: 2000\n"
    connection.close()
    response.close()
