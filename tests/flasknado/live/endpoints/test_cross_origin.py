"""Pages of other origins: listed ones act for the user, all others for nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import g, request
from websockets.exceptions import InvalidStatus

from flasknado.live.origins import CORS_KEY, OriginPolicy
from tests.flasknado.live.endpoints.test_websocket import opened
from tests.flasknado.live.helpers import LiveApp, SseClient, get
from tests.support.serving import Serving

GOOD = "https://good.example"
EVIL = "https://evil.example"
COOKIE = {"Cookie": "user=ann"}
POLL = "/live/poll"


@pytest.fixture
def live_app(make_live_app: Callable[..., LiveApp]) -> LiveApp:
    """Return an application whose people are logged in by cookie, or by Basic authentication."""
    live_app = make_live_app()

    @live_app.app.before_request
    def by_cookie() -> None:
        g.user = request.cookies.get("user") or (request.authorization or {}).get("username")

    @live_app.live.on_message("*")
    def who_sends(channel: str, data: Any) -> Any:
        return g.user

    return live_app


def test_every_origin_may_connect_but_is_nobody_whatever_the_browser_sends(
    live_app: LiveApp, served: Serving
) -> None:
    live_app.app.extensions[CORS_KEY] = OriginPolicy(["*"])
    for credentials in (COOKIE, {"Authorization": "Basic YW5uOng="}):
        with opened(served, additional_headers=credentials) as own:
            assert own.follow("user:ann")[0]["type"] == "subscribed"
        with opened(served, origin=EVIL, additional_headers=credentials) as client:
            client.say(type="subscribe", channels=["user:ann"])
            assert client.hear()["code"] == 403
            assert client.follow("a")[0]["who"] == "anonymous"
            client.say(type="message", channel="a", data=1, ref=1)
            assert client.hear() == {"type": "reply", "ref": 1, "data": None}


def test_every_origin_may_read_over_http_but_is_nobody(live_app: LiveApp, served: Serving) -> None:
    live_app.app.extensions[CORS_KEY] = OriginPolicy(["*"])
    headers = {**COOKIE, "Origin": EVIL}
    assert get(served, POLL, COOKIE, channel="user:ann", timeout_s=0)[0] == 200
    status, answered, _ = get(served, POLL, headers, channel="user:ann", timeout_s=0)
    assert (status, answered["Access-Control-Allow-Origin"]) == (403, "*")
    assert answered["Access-Control-Allow-Credentials"] is None
    with SseClient(served, "a", headers=headers) as client:
        assert client.headers["Access-Control-Allow-Origin"] == "*"
        assert client.headers["Live-Who"] == "anonymous"


@pytest.mark.parametrize("origins", [[], [GOOD]])
def test_origin_without_leave_is_nobody_too(
    live_app: LiveApp, served: Serving, origins: list[str]
) -> None:
    live_app.app.extensions[CORS_KEY] = OriginPolicy(origins)
    headers = {**COOKIE, "Origin": EVIL}
    status, answered, _ = get(served, POLL, headers, channel="user:ann", timeout_s=0)
    assert (status, answered["Access-Control-Allow-Origin"]) == (403, None)


@pytest.mark.parametrize("origins", [[GOOD], [GOOD, "*"]])
def test_listed_origin_acts_for_the_user(
    live_app: LiveApp, served: Serving, origins: list[str]
) -> None:
    live_app.app.extensions[CORS_KEY] = OriginPolicy(origins)
    with opened(served, origin=GOOD, additional_headers=COOKIE) as client:
        client.follow("user:ann")
    headers = {**COOKIE, "Origin": GOOD}
    status, answered, _ = get(served, POLL, headers, channel="user:ann", timeout_s=0)
    assert status == 200
    assert answered["Access-Control-Allow-Origin"] == GOOD
    assert answered["Access-Control-Allow-Credentials"] == "true"
    assert "Live-Who" in answered["Access-Control-Expose-Headers"]


def test_page_of_the_own_origin_needs_no_policy(live_app: LiveApp, served: Serving) -> None:
    own = f"http://{served.host}:{served.port}"
    with opened(served, origin=own, additional_headers=COOKIE) as client:
        client.follow("user:ann")
    headers = {**COOKIE, "Origin": own}
    assert get(served, POLL, headers, channel="user:ann", timeout_s=0)[0] == 200


@pytest.mark.parametrize("policy", [lambda origin: True, ["*"], "*", True])
def test_policy_that_is_none_lets_nobody_in_and_is_logged_once(
    live_app: LiveApp, served: Serving, policy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    live_app.app.extensions[CORS_KEY] = policy
    for _ in range(2):
        with pytest.raises(InvalidStatus), opened(served, origin=EVIL):
            pass
    assert caplog.text.count("set it to an OriginPolicy") == 1
