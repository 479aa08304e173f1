"""What the application's hooks answer: only what is meant to let in lets in."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from flask import Response, abort, jsonify, redirect
from werkzeug.wrappers import Response as WerkzeugResponse

from flasknado.live import Identity
from tests.flasknado.live.endpoints.test_websocket import opened
from tests.flasknado.live.helpers import LiveApp, SseClient, get
from tests.support.serving import Serving

POLL = "/live/poll"


def status_of(served: Serving) -> int:
    status: int = get(served, POLL, channel="a", timeout_s=0)[0]
    return status


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (True, 200),
        (False, 403),
        (None, 403),
        (lambda: redirect("/login"), 403),
        (lambda: Response("no", 403), 403),
        (lambda: Response("no", 401), 401),
        (lambda: Response("yes", 200), 403),
        (lambda: WerkzeugResponse("gone", 410), 410),
        (lambda: jsonify(may=True), 403),
        (("no", 403), 403),
        (("no", 404), 404),
        (("yes", 200), 403),
        (("no", 401, {"WWW-Authenticate": "Bearer"}), 401),
        ((), 403),
        (("no",), 403),
        ("yes", 403),
        (1, 403),
        (["posts"], 403),
        ({"may": True}, 403),
        (object(), 403),
    ],
)
def test_authorize_lets_in_on_true_alone(
    live_app: LiveApp, served: Serving, said: Any, status: int
) -> None:
    live_app.live.authorize(lambda channel: said() if callable(said) else said)
    assert status_of(served) == status
    with opened(served) as client:
        client.say(type="subscribe", channels=["a"])
        heard = client.hear()
        assert heard.get("code", 200) == status


def test_authorize_behind_a_decorator_for_views_refuses(live_app: LiveApp, served: Serving) -> None:
    def login_required(view: Callable[..., Any]) -> Callable[..., Any]:
        """As Flask-Login's, for somebody who is not logged in."""

        @wraps(view)
        def decorated(*args: Any) -> Any:
            return redirect("/login?next=/live/events")

        return decorated

    @live_app.live.authorize
    @login_required
    def may_read(channel: str) -> bool:
        return True

    assert status_of(served) == 403
    assert get(served, "/live/events", channel="a")[0] == 403


def test_authorize_that_answers_something_else_is_logged_once_with_the_rule(
    live_app: LiveApp, served: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    live_app.live.authorize(lambda channel: "x" * 1000)
    for _ in range(3):
        assert status_of(served) == 403
    [line] = [record for record in caplog.records if "@live.authorize" in record.message]
    assert "of the type str" in line.message
    assert "return True to allow access" in line.message
    assert len(line.message) < 300


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (None, 200),
        (Identity("ann"), 200),
        (Identity(7), 200),
        (lambda: redirect("/login"), 403),
        (("who are you", 401), 401),
        ("ann", 500),
        (7, 500),
        (True, 500),
        (("ann", None), 500),
        ({"user": "ann"}, 500),
    ],
)
def test_identity_is_an_identity_or_nobody(
    live_app: LiveApp, served: Serving, said: Any, status: int
) -> None:
    live_app.live.identity(lambda: said() if callable(said) else said)
    status_, _, body = get(served, POLL, channel="a", timeout_s=0)
    assert status_ == status
    assert status == 200 or "ann" not in body["message"]


def test_identity_that_is_none_is_logged_once_with_the_rule(
    live_app: LiveApp, served: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    live_app.live.identity(lambda: "ann")
    for _ in range(3):
        assert status_of(served) == 500
    lines = [record.message for record in caplog.records if "@live.identity" in record.message]
    assert len(lines) == 1
    assert "return Identity(user), or None" in lines[0]


def test_identity_with_a_bad_user_is_refused_and_holds_up_nobody(
    live_app: LiveApp, served: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    users = iter(["an\0n", "x" * 129, "\ud800", "bob"])
    live_app.live.identity(lambda: Identity(next(users)))
    with SseClient(served, "a") as bad:
        assert bad.status == 500
    assert [status_of(served) for _ in range(3)] == [500, 500, 200]
    assert "must have 1 to 128 characters" in caplog.text


def test_number_is_the_user_that_revoke_means(live_app: LiveApp, served: Serving) -> None:
    live_app.live.identity(lambda: Identity(7))
    for user in (7, "7"):
        with SseClient(served, "a").opened() as client:
            live_app.revoke(user)  # type: ignore[arg-type]
            client.read_to_end()


@pytest.mark.parametrize("user", ["", "a\nb", "x" * 129, True, None])
def test_revoke_refuses_what_no_identity_can_be(live_app: LiveApp, user: Any) -> None:
    with live_app.app.app_context(), pytest.raises(ValueError, match=r"user must (be|have) .*"):
        live_app.live.revoke(user)


def test_message_function_that_answers_a_response_refuses_with_its_status(
    live_app: LiveApp, served: Serving
) -> None:
    answers: list[Any] = [Response("no", 402), redirect("/login")]

    @live_app.live.on_message("*")
    def take(channel: str, data: int) -> Any:
        return answers[data]

    with opened(served) as client:
        client.follow("a")
        for number, code in ((0, 402), (1, 403)):
            client.say(type="message", channel="a", data=number, ref=number)
            heard = client.hear()
            assert (heard["type"], heard["code"], heard["ref"]) == ("error", code, number)


def test_page_key_is_what_the_server_says_of_every_connection(
    live_app: LiveApp, served: Serving
) -> None:
    @live_app.app.get("/key")
    def key() -> dict[str, str]:
        return {"key": live_app.live.page_key()}

    keys = {}
    for user in ("ann", "bob", ""):
        headers = {"X-User": user} if user else {}
        keys[user] = get(served, "/key", headers)[2]["key"]
        assert get(served, "/live/who", headers)[2] == {"who": keys[user]}
        assert get(served, POLL, headers, channel="a", timeout_s=0)[1]["Live-Who"] == keys[user]
        for path in ("/live/events", "/live/ndjson"):
            head = get(served, path, headers, method="HEAD", channel="a")[1]
            assert head["Live-Who"] == keys[user]
        with opened(served, additional_headers=headers) as client:
            assert client.follow("a")[0]["who"] == keys[user]
    assert len(set(keys.values())) == 3


def test_page_key_without_a_secret_key_is_none(live_app: LiveApp, served: Serving) -> None:
    live_app.app.extensions["live"].tickets = None
    with live_app.app.test_request_context():
        assert live_app.app.preprocess_request() is None
        assert live_app.live.page_key() == ""
    assert get(served, "/live/who")[2] == {"who": None}
    _, headers, _ = get(served, POLL, channel="a", timeout_s=0)
    assert "Live-Who" not in headers


def test_who_is_refused_where_the_application_refuses(live_app: LiveApp, served: Serving) -> None:
    assert get(served, "/live/who", {"X-User": "banned"})[0] == 403
    live_app.live.identity(lambda: abort(401))
    assert get(served, "/live/who")[0] == 401
