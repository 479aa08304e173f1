"""What stands around the application holds for the live endpoints too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, g, request
from flask_cors import CORS
from werkzeug.middleware.proxy_fix import ProxyFix

from flasknado.live import Identity
from flasknado.live.origins import CORS_KEY, OriginPolicy
from tests.flasknado.live.endpoints.test_websocket import opened
from tests.flasknado.live.helpers import LiveApp, SseClient, get
from tests.support.serving import Serving

GOOD = "https://good.example"
EVIL = "https://evil.example"
POLL = "/live/poll"
SSO = {"X-SSO-User": "ann"}
FORWARDED = {
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "shop.test",
}


@pytest.fixture
def seen(live_app: LiveApp) -> list[tuple[Any, ...]]:
    """What `authorize` sees of each request, behind single sign-on and `ProxyFix`."""
    seen: list[tuple[Any, ...]] = []
    app = live_app.app
    inner = ProxyFix(app.wsgi_app, x_host=1)

    def signed_on(environ: Any, start_response: Any) -> Any:
        if environ.get("HTTP_X_SSO_USER") == "mallory":
            start_response("403 Forbidden", [("X-Reason", "sso")])
            return [b"no"]
        environ["REMOTE_USER"] = environ.get("HTTP_X_SSO_USER", "")
        return inner(environ, start_response)

    app.wsgi_app = signed_on  # type: ignore[method-assign]

    @live_app.live.authorize
    def may_read(channel: str) -> bool:
        seen.append((request.remote_user, request.remote_addr, request.url_root))
        return bool(request.remote_user) or channel == "open"

    return seen


@pytest.mark.parametrize("transport", ["poll", "sse", "websocket"])
def test_authorize_sees_user_address_and_scheme_of_the_middleware(
    seen: list[Any], served: Serving, transport: str
) -> None:
    headers = {**SSO, **FORWARDED}
    if transport == "poll":
        assert get(served, POLL, headers, channel="a", timeout_s=0)[0] == 200
    elif transport == "sse":
        with SseClient(served, "a", headers=headers) as client:
            client.opened()
    else:
        with opened(served, additional_headers=headers) as socket:
            socket.follow("a")
    assert seen == [("ann", "203.0.113.7", "https://shop.test/")]


def test_middleware_that_says_no_refuses_before_the_stream(
    seen: list[Any], served: Serving
) -> None:
    headers = {"X-SSO-User": "mallory"}
    status, fields, body = get(served, "/live/events", headers, channel="a")
    assert (status, fields["X-Reason"], body["code"]) == (403, "sso", 403)
    with opened(served, additional_headers=headers) as socket:
        socket.say(type="subscribe", channels=["a"])
        assert socket.hear()["code"] == 403
    assert seen == []


@pytest.mark.parametrize(
    ("origin", "own"), [("https://shop.test", True), (EVIL, False), ("https://a.shop.test", False)]
)
def test_page_is_of_the_own_origin_if_the_application_says_so(
    live_app: LiveApp, seen: list[Any], served: Serving, origin: str, own: bool
) -> None:
    @live_app.app.before_request
    def by_cookie() -> None:
        g.user = request.cookies.get("user")

    @live_app.live.identity
    def who() -> Identity:
        return Identity(g.user)

    headers = {**FORWARDED, "Origin": origin, "Cookie": "user=ann"}
    status, fields, _ = get(served, POLL, headers, channel="open", timeout_s=0)
    assert (status, fields["Live-Who"] != "anonymous") == (200, own)


# Flask-CORS.


def cors_answer(served: Serving, origin: str, path: str = POLL, **headers: str) -> dict[str, Any]:
    _, fields, _ = get(served, path, {"Origin": origin, **headers}, channel="a", timeout_s=0)
    return {
        name.removeprefix("Access-Control-Allow-"): value
        for name, value in fields.items()
        if name.startswith("Access-Control-Allow-")
    }


def test_policy_of_flask_cors_is_heard(live_app: LiveApp, served: Serving) -> None:
    CORS(live_app.app)
    assert cors_answer(served, EVIL) == {"Origin": EVIL}
    with opened(served, origin=EVIL) as socket:
        socket.follow("a")


def test_policy_of_flask_cors_for_listed_origins_is_heard(
    live_app: LiveApp, served: Serving
) -> None:
    CORS(live_app.app, origins=[GOOD, r"https://.*\.good\.example"], supports_credentials=True)
    for origin in (GOOD, "https://a.good.example"):
        assert cors_answer(served, origin) == {"Origin": origin, "Credentials": "true"}
    assert cors_answer(served, EVIL) == {}
    status, fields, _ = get(served, POLL, {"Origin": GOOD}, method="OPTIONS")
    assert (status, fields["Access-Control-Allow-Methods"]) == (204, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize(
    ("resources", "heard"),
    [
        ({r"/live/*": {"origins": GOOD}}, True),
        ({r"/live/poll": {"origins": [GOOD]}, r"/*": {"origins": EVIL}}, True),
        ({r"/api/*": {"origins": GOOD}}, False),
        (r"/live/p*", True),
    ],
)
def test_policy_of_flask_cors_by_resource_is_heard(
    live_app: LiveApp, served: Serving, resources: Any, heard: bool
) -> None:
    CORS(live_app.app, resources=resources)
    assert cors_answer(served, GOOD) == ({"Origin": GOOD} if heard else {})


@pytest.mark.parametrize("credentials", [True, False])
def test_credentials_count_where_flask_cors_supports_them(
    live_app: LiveApp, served: Serving, credentials: bool
) -> None:
    @live_app.app.before_request
    def by_cookie() -> None:
        g.user = request.cookies.get("user")

    CORS(live_app.app, origins=[GOOD], supports_credentials=credentials)
    headers = {"Origin": GOOD, "Cookie": "user=ann"}
    status, _, _ = get(served, POLL, headers, channel="user:ann", timeout_s=0)
    assert status == (200 if credentials else 403)


def test_star_is_sent_as_such_where_flask_cors_sends_it(live_app: LiveApp, served: Serving) -> None:
    CORS(live_app.app, send_wildcard=True)
    assert cors_answer(served, EVIL) == {"Origin": "*"}


def test_own_policy_goes_before_that_of_flask_cors(live_app: LiveApp, served: Serving) -> None:
    CORS(live_app.app)
    live_app.app.extensions[CORS_KEY] = OriginPolicy([GOOD])
    assert cors_answer(served, EVIL) == {}
    assert cors_answer(served, GOOD) == {"Origin": GOOD, "Credentials": "true"}


def test_policy_of_a_blueprint_is_its_own(live_app: LiveApp, served: Serving) -> None:
    api = Blueprint("api", __name__)
    CORS(api)
    live_app.app.register_blueprint(api, url_prefix="/api")
    assert cors_answer(served, GOOD) == {}


def test_policy_below_a_mount_is_looked_up_as_the_application_sees_it(
    make_live_app: Callable[..., LiveApp], serve: Callable[[LiveApp], Serving]
) -> None:
    live_app = make_live_app()
    live_app.mount = "/shop"
    CORS(live_app.app, resources={r"/live/*": {"origins": GOOD}})
    served = serve(live_app)
    assert cors_answer(served, GOOD, "/shop/live/poll") == {"Origin": GOOD}


def test_policy_that_cannot_be_read_allows_nobody_and_is_logged_once(
    live_app: LiveApp, served: Serving, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    CORS(live_app.app)
    monkeypatch.delattr("flask_cors.core.get_cors_headers")
    assert cors_answer(served, GOOD) == cors_answer(served, GOOD) == {}
    assert caplog.text.count("the policy of Flask-CORS cannot be read") == 1
