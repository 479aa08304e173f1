"""What runs around every request: before, after, at teardown, and once at the start."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask, g, session
from flask.testing import FlaskClient

from tests.webapp.people import ApiClient, Browser, make_app
from webapp import identity
from webapp.extensions import db
from webapp.models import User

LogIn = Callable[..., Browser]
Obtain = Callable[..., ApiClient]


# --- before_request: the identity ---------------------------------------------------------------


def test_before_request_finds_nobody_without_failing(app: Flask) -> None:
    with app.test_request_context("/"):
        assert app.preprocess_request() is None
        assert g.user is None
        assert g.roles == frozenset()


def test_before_request_finds_the_session(app: Flask, account: Callable[..., int]) -> None:
    user_id = account("ada")

    with app.test_request_context("/live/events?channel=posts"):
        identity.log_in(db.session.get_one(User, user_id))
        assert app.preprocess_request() is None
        assert g.user.username == "ada"
        assert g.roles == {"user"}
        assert g.by_session


def test_before_request_finds_the_bearer_token(app: Flask, api: Obtain) -> None:
    ada = api("ada")
    headers = {"Authorization": f"Bearer {ada.access_token}"}

    with app.test_request_context("/live/events?channel=posts", headers=headers):
        assert app.preprocess_request() is None
        assert g.user.username == "ada"
        assert not g.by_session


def test_identity_is_described_for_native_handlers(app: Flask, api: Obtain) -> None:
    ada = api("ada", "admin")
    headers = {"Authorization": f"Bearer {ada.access_token}"}
    described = []
    for options in ({}, {"headers": headers}):
        with app.test_request_context("/live/whoami", **options):
            app.preprocess_request()
            described.append(app.extensions["flasknado.identity"]())

    assert described[0] == {"user": None, "roles": []}
    assert described[1]["user"] == ada.request("GET", "/me").json
    assert described[1]["roles"] == ["admin", "user"]


@pytest.mark.parametrize(
    "changes",
    [
        {"user_id": 999},
        {"user_id": "rubbish"},
        {"user_id": None},
        {"session_id": None},
        {"session_id": 1},
        {"generation": None},
        {"generation": 1},
        {"generation": "0"},
    ],
    ids=str,
)
def test_before_request_with_a_session_that_is_not_good_forgets_it(
    app: Flask, account: Callable[..., int], changes: dict[str, object]
) -> None:
    user_id = account("ada")

    with app.test_request_context("/"):
        identity.log_in(db.session.get_one(User, user_id))
        session.update(changes)
        app.preprocess_request()

        assert g.user is None
        assert not session


def test_before_request_asks_no_database_for_static_files(
    client: FlaskClient, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_database(*_arguments: object) -> None:
        pytest.fail("the database was asked")

    with client.session_transaction() as cookie:
        cookie.update(user_id=1, session_id="x", generation=0)
    monkeypatch.setattr(db.session, "scalar", no_database)

    with client.get("/static/site.css") as answer:
        assert answer.status_code == 200


def test_identity_does_not_leak_between_threads(app: Flask, api: Obtain) -> None:
    names = [f"person-{number}" for number in range(4)]
    together = threading.Barrier(len(names), timeout=20)

    @app.get("/api/v1/together")
    def together_view() -> dict[str, str]:
        together.wait()
        return {"username": g.user.username}

    seen: dict[str, str] = {}

    def ask(name: str, person: ApiClient) -> None:
        seen[name] = person.request("GET", "/together").json["username"]

    threads = [threading.Thread(target=ask, args=(name, api(name))) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert seen == {name: name for name in names}


# --- after_request: the headers -----------------------------------------------------------------


def test_after_request_gives_every_answer_an_id_of_its_own(client: FlaskClient) -> None:
    ids = {client.get(path).headers["X-Request-ID"] for path in ("/", "/", "/nothing", "/api/v1/x")}

    assert len(ids) == 4
    assert all(re.fullmatch(r"[0-9a-f]{32}", name) for name in ids)


def test_after_request_takes_the_servers_id(client: FlaskClient) -> None:
    environ = {"flasknado.request_id": "from-the-server-1"}

    answer = client.get("/api/v1/nothing", environ_overrides=environ)

    assert answer.headers["X-Request-ID"] == "from-the-server-1"
    assert answer.json["request_id"] == "from-the-server-1"


def test_after_request_does_not_believe_the_clients_id(client: FlaskClient) -> None:
    answer = client.get("/", headers={"X-Request-ID": "mine"})

    assert answer.headers["X-Request-ID"] != "mine"


@pytest.mark.parametrize("path", ["/search", "/login", "/nothing", "/api/v1/posts"])
def test_after_request_sets_the_security_headers(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers

    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-cache, private"


def test_after_request_leaves_what_a_view_has_set(app: Flask, client: FlaskClient) -> None:
    @app.get("/api/v1/cached")
    def cached() -> tuple[str, dict[str, str]]:
        return "x", {"Cache-Control": "max-age=60", "Referrer-Policy": "no-referrer"}

    headers = client.get("/api/v1/cached").headers

    assert headers["Cache-Control"] == "max-age=60"
    assert headers["Referrer-Policy"] == "no-referrer"


# --- teardown_request: the transaction ----------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
def test_teardown_loses_what_was_not_committed(app: Flask, api: Obtain, fails: bool) -> None:
    @app.get("/api/v1/forgetful")
    def forgetful() -> str:
        g.user.username = "changed"
        db.session.flush()
        if fails:
            raise RuntimeError
        return "done"

    ada = api("ada")

    assert ada.request("GET", "/forgetful").status_code == (500 if fails else 200)

    # Nothing holds the write lock, and nothing was written.
    assert ada.request("GET", "/me").json["username"] == "ada"
    assert ada.post() > 0


# --- At the start -------------------------------------------------------------------------------


def test_start_up_work_is_done_before_the_first_request(tmp_path: Path) -> None:
    app = make_app(tmp_path / "x.db")

    assert {"static", "user", "post", "login", "api", "live"} <= app.extensions[
        "webapp.reserved_names"
    ]
