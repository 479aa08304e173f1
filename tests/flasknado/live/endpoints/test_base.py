"""What the transports share: CORS, authorising in the application, errors, routes."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask, abort, g
from tornado.web import Application

import flasknado.live
from flasknado import HTTPServer, WSGIContainer
from flasknado.errors import ConfigurationError
from flasknado.live.origins import CORS_KEY, OriginPolicy
from tests.flasknado.live.helpers import LiveApp, SseClient, get
from tests.support.serving import Serving, serving

GOOD = "https://good.example"
POLL = "/live/poll"


@pytest.fixture
def cors(live_app: LiveApp) -> None:
    live_app.app.extensions[CORS_KEY] = OriginPolicy([GOOD])


@pytest.mark.parametrize("path", ["/live/events", "/live/ndjson", POLL])
def test_cors_allowed_origin_may_read_every_answer(
    live_app: LiveApp, cors: None, served: Serving, path: str
) -> None:
    origin = {"Origin": GOOD}
    _, headers, _ = get(served, path, origin, method="HEAD", channel="a")
    assert headers["Vary"] == "Origin"
    assert headers["Access-Control-Allow-Origin"] == GOOD
    assert "Retry-After" in headers["Access-Control-Expose-Headers"]
    status, headers, _ = get(served, path, origin, channel="user:x")
    assert (status, headers["Access-Control-Allow-Origin"]) == (403, GOOD)


def test_cors_allowed_origin_may_read_the_stream(cors: None, served: Serving) -> None:
    with SseClient(served, "a", headers={"Origin": GOOD}) as client:
        assert client.headers["Access-Control-Allow-Origin"] == GOOD


def test_cors_preflight_tells_an_allowed_origin_what_it_may_send(
    cors: None, served: Serving
) -> None:
    status, headers, body = get(served, "/live/events", {"Origin": GOOD}, method="OPTIONS")
    assert (status, body) == (204, b"")
    assert headers["Access-Control-Allow-Origin"] == GOOD
    assert headers["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS"
    assert "Last-Event-ID" in headers["Access-Control-Allow-Headers"]
    assert "Authorization" in headers["Access-Control-Allow-Headers"]
    assert headers["Access-Control-Max-Age"] == "600"


METHODS = {
    "/live/events": "GET, HEAD, OPTIONS",
    "/live/ndjson": "GET, HEAD, OPTIONS",
    "/live/poll": "GET, HEAD, OPTIONS",
    "/live/who": "GET, HEAD, OPTIONS",
    "/live/live.js": "GET, HEAD, OPTIONS",
    "/live/socket": "GET, HEAD, OPTIONS",
    "/live/publish": "POST, OPTIONS",
}


@pytest.mark.parametrize("path", METHODS)
def test_every_endpoint_names_the_methods_that_it_has(
    cors: None, served: Serving, path: str
) -> None:
    methods = METHODS[path]
    status, headers, _ = get(served, path, method="OPTIONS")
    assert (status, headers["Allow"]) == (204, methods)
    _, headers, _ = get(served, path, {"Origin": GOOD}, method="OPTIONS")
    assert headers["Access-Control-Allow-Methods"] == methods
    assert "Content-Type" in headers["Access-Control-Allow-Headers"]
    for method in ("GET", "HEAD", "POST", "DELETE"):
        status, headers, _ = get(served, path, method=method)
        assert (status == 405) is (method not in methods)
        assert headers["Allow"] == (methods if status == 405 else None)


def test_head_of_a_poll_authorises_and_does_not_wait(served: Serving) -> None:
    status, _, body = get(served, POLL, method="HEAD", channel="a", timeout_s=60)
    assert (status, body) == (200, b"")
    assert get(served, POLL, method="HEAD", channel="user:x", timeout_s=60)[0] == 403


@pytest.mark.parametrize("method", ["OPTIONS", "GET"])
def test_cors_other_origin_is_told_nothing(cors: None, served: Serving, method: str) -> None:
    headers = {"Origin": "https://evil.example"}
    _, answered, _ = get(served, POLL, headers, method=method, channel="a", timeout_s=0)
    assert not [name for name in answered if name.startswith("Access-Control")]
    assert answered["Vary"] == "Origin"


def test_cors_without_a_policy_allows_nobody(served: Serving) -> None:
    _, headers, _ = get(served, POLL, {"Origin": GOOD}, method="OPTIONS")
    assert "Access-Control-Allow-Origin" not in headers


def test_authorize_is_asked_of_the_right_user_under_concurrency(
    live_app: LiveApp, served: Serving
) -> None:
    def ask(number: int) -> bool:
        own = number % 2 == 0
        channel = f"user:{number if own else number + 1}"
        headers = {"X-User": str(number)}
        status, _, _ = get(served, POLL, headers, channel=channel, timeout_s=0)
        return status == (200 if own else 403)

    with ThreadPoolExecutor(12) as threads:
        assert all(threads.map(ask, range(150)))


@pytest.mark.parametrize("status", [401, 404, 410])
def test_authorize_that_aborts_gives_its_status_and_description(
    live_app: LiveApp, served: Serving, status: int
) -> None:
    @live_app.live.authorize
    def may_read(channel: str) -> bool:
        abort(status, f"not {channel}")

    code, _, body = get(served, POLL, channel="a", timeout_s=0)
    assert (code, body) == (status, {"message": "not a", "success": False, "code": status})


def test_authorize_that_fails_gives_500_and_is_logged(
    live_app: LiveApp, served: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    @live_app.live.authorize
    def may_read(channel: str) -> bool:
        raise RuntimeError("the secret reason")

    status, _, body = get(served, POLL, channel="a", timeout_s=0)
    assert (status, body["code"]) == (500, 500)
    assert "secret" not in body["message"]
    assert "the secret reason" in caplog.text


def test_authorize_that_takes_too_long_gives_503(
    make_live_app: Callable[..., LiveApp], serve: Callable[[LiveApp], Serving]
) -> None:
    live_app = make_live_app(LIVE_AUTHORIZE_TIMEOUT_S=0.05)
    release = threading.Event()

    @live_app.live.authorize
    def may_read(channel: str) -> bool:
        return release.wait(10)

    try:
        status, headers, body = get(serve(live_app), POLL, channel="a", timeout_s=0)
    finally:
        release.set()
    assert (status, headers["Retry-After"]) == (503, "2")
    assert "did not answer within 0.05 s" in body["message"]


def test_teardown_of_the_application_runs_and_the_session_goes_back(
    live_app: LiveApp, served: Serving
) -> None:
    seen: list[str | None] = []

    @live_app.app.teardown_request
    def teardown(error: BaseException | None) -> None:
        seen.append(g.user)

    @live_app.live.authorize
    def may_read(channel: str) -> bool:
        return live_app.db.session.query(live_app.Note).count() == 0

    assert get(served, POLL, {"X-User": "ann"}, channel="a", timeout_s=0)[0] == 200
    assert seen == ["ann"]
    assert live_app.engine().pool.checkedout() == 0  # type: ignore[attr-defined]


def test_application_without_live_is_a_500_that_names_the_mend() -> None:
    app = Flask("bare")
    handlers = flasknado.live.routes()
    with serving(lambda: HTTPServer(WSGIContainer(app), handlers=handlers)) as served:
        status, _, body = get(served, POLL, channel="a")
    assert (status, body["code"]) == (500, 500)
    assert "call live.init_app(app, db)" in body["message"]


def test_routes_are_under_the_prefix_only() -> None:
    patterns = [route.regex.pattern for route in flasknado.live.routes("/shop/live")]
    for name in ("events", "ndjson", "poll", "socket"):
        assert any(re.match(pattern, f"/shop/live/{name}") for pattern in patterns)
        assert not any(re.match(pattern, f"/live/{name}") for pattern in patterns)


@pytest.mark.parametrize("prefix", ["live", "/live/", "/"])
def test_routes_under_a_prefix_that_is_none_are_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="must begin with a slash"):
        flasknado.live.routes(prefix)


def test_routes_work_in_a_plain_tornado_application(live_app: LiveApp) -> None:
    def server() -> HTTPServer:
        return HTTPServer(Application(flasknado.live.routes("/x"), wsgi_app=live_app.app))

    with serving(server) as served:
        status, _, body = get(served, "/x/poll", channel="a", timeout_s=0)
    assert (status, body["events"]) == (200, [])
