"""The endpoints as Flask views: under a WSGI server that is not ours, and a test client."""

from __future__ import annotations

import gzip
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from flask import g
from flask_cors import CORS

from flasknado.errors import ConfigurationError
from flasknado.live import Client
from flasknado.live.origins import CORS_KEY, OriginPolicy
from tests.flasknado.live.helpers import DEADLINE_S, EventSourceParser, LiveApp

TOKEN = "a token for the tests"
Make = Callable[..., LiveApp]


@pytest.fixture(params=["memory", "sqlite"])
def plain(make: Make, request: pytest.FixtureRequest) -> LiveApp:
    """Return an application with the endpoints as views."""
    config = {"LIVE_PUBLISH_TOKEN": TOKEN, "LIVE_FALLBACK_STREAM_S": 0.2}
    live_app = make(request.param, **config)
    live_app.app.register_blueprint(live_app.live.blueprint())

    @live_app.live.on_message("chat:*")
    def take(channel: str, data: Any) -> Any:
        return [g.user, channel, data]

    return live_app


@pytest.fixture
def browser(plain: LiveApp) -> Any:
    return plain.app.test_client()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def address(plain: LiveApp) -> Iterator[tuple[str, int]]:
    with make_server("127.0.0.1", 0, plain.app, _Server, _Silent) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield "127.0.0.1", server.server_port
        server.shutdown()
        thread.join()


def test_stream_delivers_and_ends_so_that_the_client_comes_back(
    plain: LiveApp, address: tuple[str, int]
) -> None:
    cursor = plain.cursor()
    plain.publish("a", "b", data=1)
    connection = http.client.HTTPConnection(*address, timeout=DEADLINE_S)
    connection.request("GET", f"/live/events?channel=a&after={cursor}")
    response = connection.getresponse()
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    parser = EventSourceParser()
    parser.feed(response.read().decode())
    connection.close()
    assert [(m.event, m.body["channel"]) for m in parser.messages] == [("note", "a")]
    assert parser.last_event_id == plain.cursor()
    assert parser.retry_ms == 2000


def test_python_client_follows_across_the_short_streams(
    plain: LiveApp, address: tuple[str, int]
) -> None:
    cursor = plain.cursor()
    url = "http://{}:{}/live".format(*address)
    with Client(url, channels=["a"], after=cursor) as client:
        events = iter(client)
        for n in range(3):
            plain.publish("a", data=n)
            assert next(events).data == n


def test_poll_answers_at_once_or_with_the_next_event(plain: LiveApp, browser: Any) -> None:
    cursor = plain.cursor()
    answer = browser.get(f"/live/poll?channel=a&after={cursor}&timeout_s=0")
    assert answer.json == {"events": [], "cursor": cursor}
    assert answer.headers["Live-Who"] == "anonymous"
    timer = threading.Timer(0.05, plain.publish, ("a",))
    timer.start()
    answer = browser.get(f"/live/poll?channel=a&after={cursor}")
    timer.join()
    assert [e["event"] for e in answer.json["events"]] in (["note"], [])
    answer = browser.get(f"/live/poll?channel=a&after={cursor}")
    assert [e["id"] for e in answer.json["events"]] == [answer.json["cursor"]]
    answer = browser.get("/live/poll?channel=a&last=1")
    assert [e["event"] for e in answer.json["events"]] == ["note"]
    answer = browser.get("/live/poll?channel=a&after=another:9")
    assert [e["event"] for e in answer.json["events"]] == ["reset"]


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("poll", 400, "no channel is given"),
        ("poll?channel=!", 400, "'!' is not a channel"),
        ("poll?channel=post:*", 400, "'post:*' is not a channel"),
        ("poll?channel=user:bob", 403, "you may not read the channel 'user:bob'"),
        ("poll?channel=a&timeout_s=x", 400, "timeout_s must be"),
        ("poll?channel=a&connection=x", 400, "'x' is not a connection's id"),
        ("events?channel=a&format=xml", 400, "there is no format 'xml'"),
        ("events?tag=nonsense", 403, "the tag is not valid"),
        ("poll?" + "&".join(f"channel=c{n}" for n in range(65)), 400, "a connection may follow"),
        ("poll?" + "&".join(f"tag=t{n}" for n in range(65)), 400, "a connection may follow"),
        ("socket", 426, "this server has no WebSocket"),
    ],
)
def test_refusal_is_json(browser: Any, path: str, status: int, message: str) -> None:
    answer = browser.get(f"/live/{path}", headers={"X-User": "ann"})
    assert (answer.status_code, answer.json["code"]) == (status, status)
    assert answer.json["message"].startswith(message)


def test_tag_is_good_for_its_user_until_it_is_revoked(plain: LiveApp, browser: Any) -> None:
    with plain.app.test_request_context(headers={"X-User": "ann"}):
        plain.app.preprocess_request()
        tag = plain.live.tag("user:nobody")
    ann = {"X-User": "ann"}
    path = f"/live/poll?timeout_s=0&tag={tag}"
    assert browser.get(path, headers=ann).status_code == 200
    assert browser.get(path, headers={"X-User": "bob"}).status_code == 403
    plain.revoke("bob")
    assert browser.get(path, headers=ann).status_code == 200
    plain.revoke("ann")
    answer = browser.get(path, headers=ann)
    assert answer.status_code == 403
    assert "was taken away" in answer.json["message"]


def test_messages_events_and_the_rest_are_served(plain: LiveApp, browser: Any) -> None:
    message = {"channel": "chat:1", "data": 7}
    ann = {"X-User": "ann"}
    answer = browser.post("/live/send", json=message, headers=ann)
    assert answer.json == {"data": ["ann", "chat:1", 7]}
    assert browser.post("/live/send", data=json.dumps(message)).status_code == 415
    assert browser.post("/live/send", json=message | {"channel": "user:bob"}).status_code == 403
    evil = browser.post("/live/send", json=message, headers={"Origin": "https://evil.example"})
    assert evil.status_code == 403
    large = browser.post("/live/send", json=message | {"data": "x" * 20_000})
    assert large.status_code == 413
    event = {"channel": "a", "event": "note", "data": 1}
    assert browser.post("/live/publish", json=event).status_code == 401
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    answer = browser.post("/live/publish", json=event, headers=bearer)
    assert answer.json == {"cursor": plain.cursor()}
    assert browser.get("/live/who").json == {"who": "anonymous"}
    module = browser.get("/live/live.js")
    assert b"export function connect" in module.data
    etag = {"If-None-Match": module.headers["ETag"]}
    assert browser.get("/live/live.js", headers=etag).status_code == 304
    compressed = browser.get("/live/live.js", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(compressed.data) == module.data
    assert compressed.headers["ETag"] != module.headers["ETag"]
    assert {"Origin", "Accept-Encoding"} <= compressed.vary.as_set(preserve_casing=True)


def test_requests_that_hold_a_thread_are_bounded(make: Make) -> None:
    live_app = make("memory", LIVE_FALLBACK_STREAMS=2)
    live_app.app.register_blueprint(live_app.live.blueprint())
    browser = live_app.app.test_client()
    held = []
    for path in ("events", "ndjson"):
        answer = browser.get(f"/live/{path}?channel=a", buffered=False)
        next(iter(answer.response))
        held.append(answer)
    for path in ("poll", "events", "ndjson"):
        refused = browser.get(f"/live/{path}?channel=a")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
        assert "LIVE_FALLBACK_STREAMS" in refused.json["message"]
    assert browser.get("/live/poll?channel=a&timeout_s=0").status_code == 200  # it does not wait
    for answer in held:
        answer.close()
    assert browser.get("/live/poll?channel=a&timeout_s=0.01").status_code == 200


def test_run_is_stopped_by_who_may(plain: LiveApp, browser: Any) -> None:
    ended = threading.Event()

    def source() -> Iterator[int]:
        yield 1
        ended.wait(DEADLINE_S)

    @plain.live.authorize_stop
    def may_stop(run: Any) -> bool:
        return bool(g.user == "ann")

    with plain.app.test_request_context():
        plain.app.preprocess_request()
        run = plain.live.start_run(source(), channel="a").id
    ann = {"X-User": "ann"}
    evil = ann | {"Origin": "https://evil.example"}
    for body, headers, status in (
        ({"run": run}, {}, 403),
        ({"run": run}, evil, 403),
        ({"run": "unknown"}, ann, 404),
        ({"run": 7}, ann, 400),
        ({"run": "x" * 5000}, ann, 413),
    ):
        answer = browser.post("/live/stop", json=body, headers=headers)
        assert (answer.status_code, answer.json["success"]) == (status, False)
    answer = browser.post("/live/stop", json={"run": run}, headers=ann)
    ended.set()
    assert answer.json == {"run": run, "stopped": True}


def test_event_for_others_is_left_out(plain: LiveApp, browser: Any) -> None:
    cursor = plain.cursor()
    tab = "t" * 16
    with plain.app.test_request_context(headers={"X-Live-Connection": tab}):
        plain.live.publish("a", "mine", to_others=True)
        plain.live.publish("a", "last")
        if plain.session:
            plain.db.session.commit()
    names = {
        connection: [
            e["event"]
            for e in browser.get(
                f"/live/poll?channel=a&after={cursor}&connection={connection}"
            ).json["events"]
        ]
        for connection in (tab, "o" * 16)
    }
    assert names == {tab: ["last"], "o" * 16: ["mine", "last"]}


def test_pages_of_other_origins_need_the_policys_leave(plain: LiveApp, browser: Any) -> None:
    plain.app.extensions[CORS_KEY] = OriginPolicy(["https://app.example.org"])
    for origin, allowed in (("https://app.example.org", True), ("https://evil.example", False)):
        for method in ("GET", "OPTIONS"):
            answer = browser.open(
                "/live/poll?channel=a&timeout_s=0", method=method, headers={"Origin": origin}
            )
            assert answer.headers.get("Access-Control-Allow-Origin") == (
                origin if allowed else None
            )
            assert "Origin" in answer.headers["Vary"]


def test_policy_of_flask_cors_holds_as_under_our_server(plain: LiveApp, browser: Any) -> None:
    CORS(plain.app, origins=["https://app.example.org"], supports_credentials=True)
    for origin, status in (("https://app.example.org", 200), ("https://evil.example", 403)):
        headers = {"Origin": origin}
        answer = browser.post("/live/send", json={"channel": "chat:1"}, headers=headers)
        assert answer.status_code == status
        allowed = [origin] if status == 200 else []
        assert answer.headers.getlist("Access-Control-Allow-Origin") == allowed
        assert ("Live-Who" in answer.headers.get("Access-Control-Expose-Headers", "")) == bool(
            allowed
        )
        # As a form of any page can send it, with cookies and without asking.
        plain_text = browser.post("/live/stop", data='{"run": "a"}', headers=headers)
        assert plain_text.status_code == (415 if status == 200 else 403)
        assert browser.post("/live/stop", json={"run": "a"}, headers=headers).status_code == (
            404 if status == 200 else 403
        )
    module = browser.get("/live/live.js", headers={"Origin": "https://any.example"})
    assert module.headers.getlist("Access-Control-Allow-Origin") == ["*"]


def test_log_in_memory_is_refused_with_several_processes(make: Make) -> None:
    live_app = make("memory")
    live_app.app.register_blueprint(live_app.live.blueprint("/events"))
    live_app.app.testing = True
    with pytest.raises(ConfigurationError, match="visible to one process only"):
        live_app.app.test_client().get(
            "/events/poll?channel=a", environ_overrides={"wsgi.multiprocess": True}
        )
