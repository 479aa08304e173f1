"""The JSON API: accounts, posts, comments, administration, and every error code."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.webapp.people import ApiClient, Browser, about_sqlite, assert_api_error
from webapp.extensions import db
from webapp.identity import admin_only, login_required
from webapp.models import ADMIN, Post, User

Account = Callable[..., int]
LogIn = Callable[..., Browser]
Obtain = Callable[..., ApiClient]

POST = {"title": "A title", "body": "A *body*."}


# --- Accounts -----------------------------------------------------------------------------------


def test_account_is_made(client: FlaskClient) -> None:
    answer = client.post("/api/v1/users", json={"username": "Ada", "password": "ada-password"})

    assert answer.status_code == 201
    assert answer.location == "/Ada"
    assert answer.json["username"] == "Ada"
    assert answer.json["role"] == "user"
    assert set(answer.json) == {"id", "username", "about", "role", "disabled", "created_at"}


def test_account_with_a_taken_name_is_409(client: FlaskClient, account: Account) -> None:
    account("ada")

    answer = client.post("/api/v1/users", json={"username": "ADA", "password": "x-password"})

    assert "The name ADA is taken" in assert_api_error(answer, 409)


def test_account_that_breaks_rules_is_422_with_every_reason(client: FlaskClient) -> None:
    answer = client.post("/api/v1/users", json={"username": "static", "password": "x" * 73})

    message = assert_api_error(answer, 422)
    assert "username: The name static is reserved" in message
    assert "password: A password has at least 8 characters, at most 72 bytes" in message
    assert "this one has 73 bytes" in message


# --- Posts --------------------------------------------------------------------------------------


def test_post_is_written_and_read(client: FlaskClient, api: Obtain) -> None:
    written = api("ada").request("POST", "/posts", json=POST)

    assert written.status_code == 201
    assert written.location == f"/api/v1/posts/{written.json['id']}"
    read = client.get(written.location)
    assert read.status_code == 200
    assert read.json == written.json
    assert read.json | POST == read.json
    assert read.json["author"] == "ada"
    assert read.json["excerpt"] == "A body."
    assert read.json["comment_count"] == 0
    created_at = datetime.fromisoformat(read.json["created_at"])
    assert created_at.utcoffset() == timedelta(0)
    assert read.json["created_at"].endswith("Z")


def test_posts_are_listed_by_cursor_without_gap_or_repetition(
    client: FlaskClient, api: Obtain
) -> None:
    ada = api("ada")
    ids = [ada.post() for _ in range(7)]
    seen: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        page = client.get("/api/v1/posts", query_string={"limit": 3, "cursor": cursor or "999"})
        seen.extend(post["id"] for post in page.json["posts"])
        cursor = page.json["next_cursor"]
        ada.post("Arrived in between")

    assert seen == ids[::-1]


def test_posts_of_one_author_are_listed(client: FlaskClient, api: Obtain) -> None:
    api("ada").post("Hers")
    api("grace").post("Not hers")

    page = client.get("/api/v1/posts?author=ADA").json

    assert [post["title"] for post in page["posts"]] == ["Hers"]
    assert page["next_cursor"] is None
    assert_api_error(client.get("/api/v1/posts?author=nobody-here"), 404)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "limit=", "limit=%C2%B2", "cursor=x", "cursor=-1"]
)
def test_posts_with_a_bad_query_are_400_naming_it(client: FlaskClient, query: str) -> None:
    message = assert_api_error(client.get(f"/api/v1/posts?{query}"), 400)

    assert message.startswith(query.partition("=")[0])


def test_post_is_edited_in_part(api: Obtain) -> None:
    ada = api("ada")
    post_id = ada.post("Old", "Old body")

    edited = ada.request("PATCH", f"/posts/{post_id}", json={"title": "New"})

    assert edited.status_code == 200
    assert (edited.json["title"], edited.json["body"]) == ("New", "Old body")
    assert edited.json["updated_at"] >= edited.json["created_at"]
    assert ada.request("GET", f"/posts/{post_id}").json == edited.json


def test_post_is_deleted(api: Obtain) -> None:
    ada = api("ada")
    post_id = ada.post()

    answer = ada.request("DELETE", f"/posts/{post_id}")

    assert (answer.status_code, answer.data) == (204, b"")
    assert_api_error(ada.request("GET", f"/posts/{post_id}"), 404)


@pytest.mark.parametrize(("method", "json"), [("PATCH", {"title": "Mine"}), ("DELETE", None)])
def test_post_of_somebody_else_is_403_but_for_administrators(
    api: Obtain, method: str, json: object
) -> None:
    post_id = api("ada").post()

    assert_api_error(api("grace").request(method, f"/posts/{post_id}", json=json), 403)
    assert api("linus", ADMIN).request(method, f"/posts/{post_id}", json=json).status_code < 300


@pytest.mark.parametrize(
    ("json", "reason"),
    [
        ({}, "title is missing. body is missing."),
        ({"title": "T"}, "body is missing."),
        ({"title": 1, "body": None}, "title must be text. body must be text."),
        ({"title": " ", "body": "B"}, "title: A title cannot be empty."),
        ({"title": "x" * 201, "body": "B"}, "at most 200 characters; this one has 201"),
        ({"title": "T", "body": "x" * 20_001}, "at most 20000 characters; this one has 20001"),
        ({"title": "T\0", "body": "B"}, "title: A title cannot hold control characters."),
        ({"title": "T", "body": "\ud800"}, "body: A post cannot hold control characters."),
        ([], "Send a JSON object"),
        ("text", "Send a JSON object"),
    ],
)
def test_post_that_breaks_a_rule_is_422_with_the_reason(
    app: Flask, api: Obtain, json: object, reason: str
) -> None:
    assert reason in assert_api_error(api("ada").request("POST", "/posts", json=json), 422)
    with app.app_context():
        assert db.session.query(Post).count() == 0


def test_post_of_json_null_is_422(api: Obtain) -> None:
    options = {"data": "null", "content_type": "application/json"}

    assert "Send a JSON object" in assert_api_error(api().request("POST", "/posts", **options), 422)


def test_edit_of_nothing_is_422(api: Obtain) -> None:
    ada = api("ada")
    post_id = ada.post()

    answer = ada.request("PATCH", f"/posts/{post_id}", json={"colour": "red"})

    assert "Send at least one of title, body." in assert_api_error(answer, 422)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/posts"), ("PATCH", "/posts/1"), ("DELETE", "/posts/1"), ("GET", "/me")],
)
def test_change_without_identity_is_401(client: FlaskClient, method: str, path: str) -> None:
    assert_api_error(client.open(f"/api/v1{path}", method=method, json=POST), 401)


# --- Comments -----------------------------------------------------------------------------------


def test_comment_is_written_and_listed_oldest_first(client: FlaskClient, api: Obtain) -> None:
    ada = api("ada")
    path = f"/posts/{ada.post()}/comments"
    for number in range(5):
        written = ada.request("POST", path, json={"body": f"Comment {number}"})
        assert written.status_code == 201

    first = client.get(f"/api/v1{path}?limit=3").json
    second = client.get(f"/api/v1{path}?limit=3&cursor={first['next_cursor']}").json

    bodies = [comment["body"] for comment in first["comments"] + second["comments"]]
    assert bodies == [f"Comment {number}" for number in range(5)]
    assert second["next_cursor"] is None
    assert second["comments"][-1] == written.json
    assert ada.request("GET", path.removesuffix("/comments")).json["comment_count"] == 5


def test_comment_errors(client: FlaskClient, api: Obtain) -> None:
    ada = api("ada")
    post_id = ada.post()

    assert_api_error(client.get("/api/v1/posts/99/comments"), 404)
    assert_api_error(ada.request("POST", "/posts/99/comments", json={"body": "x"}), 404)
    assert_api_error(ada.request("POST", f"/posts/{post_id}/comments", json={"body": ""}), 422)
    assert_api_error(client.post(f"/api/v1/posts/{post_id}/comments", json={"body": "x"}), 401)


# --- Administration -----------------------------------------------------------------------------


def test_admin_lists_accounts_by_cursor(api: Obtain, account: Account) -> None:
    for name in ("ada", "grace", "linus"):
        account(name)
    boss = api("boss", ADMIN)

    first = boss.request("GET", "/admin/users?limit=3").json
    second = boss.request("GET", f"/admin/users?limit=3&cursor={first['next_cursor']}").json

    names = [user["username"] for user in first["users"] + second["users"]]
    assert names == ["ada", "grace", "linus", "boss"]


def test_admin_disables_and_enables_an_account(api: Obtain) -> None:
    ada, boss = api("ada"), api("boss", ADMIN)

    answer = boss.request("PATCH", f"/admin/users/{ada.user_id}", json={"disabled": True})
    assert answer.json["disabled"] is True
    assert_api_error(ada.request("GET", "/me"), 401)

    boss.request("PATCH", f"/admin/users/{ada.user_id}", json={"disabled": False})
    assert ada.request("GET", "/me").status_code == 200


def test_admin_errors(client: FlaskClient, api: Obtain) -> None:
    ada, boss = api("ada"), api("boss", ADMIN)

    assert_api_error(client.get("/api/v1/admin/users"), 401)
    assert_api_error(ada.request("GET", "/admin/users"), 403)
    assert_api_error(ada.request("PATCH", "/admin/users/1", json={"disabled": True}), 403)
    own = f"/admin/users/{boss.user_id}"
    assert_api_error(boss.request("PATCH", own, json={"disabled": True}), 409)
    assert_api_error(boss.request("PATCH", own, json={"disabled": "yes"}), 422)
    assert_api_error(boss.request("PATCH", "/admin/users/99", json={"disabled": True}), 404)


def test_decorators_keep_the_names_of_endpoints(app: Flask) -> None:
    def report() -> str:
        """A report."""
        return ""

    for decorate in (admin_only, login_required):
        decorated = decorate(report)
        assert (decorated.__name__, decorated.__doc__) == ("report", "A report.")

    app.add_url_rule("/api/v1/report", view_func=admin_only(report))
    assert "report" in app.view_functions
    with pytest.raises(AssertionError, match="overwriting an existing endpoint function: report"):
        app.add_url_rule("/api/v1/other", view_func=login_required(report))


# --- The session of the site's own pages --------------------------------------------------------


def test_session_may_read_and_needs_the_csrf_token_to_change(browser: LogIn) -> None:
    person = browser("ada")

    assert person.get("/api/v1/me").json["username"] == "ada"
    refused = person.client.post("/api/v1/posts", json=POST)
    assert "CSRF" in assert_api_error(refused, 400)
    headers = {"X-CSRFToken": person.csrf_token("/write")}
    assert person.client.post("/api/v1/posts", json=POST, headers=headers).status_code == 201


def test_token_counts_for_more_than_the_session(app: Flask, browser: LogIn, api: Obtain) -> None:
    person, grace = browser("ada"), api("grace")
    headers = {"Authorization": f"Bearer {grace.access_token}"}

    assert person.get("/api/v1/me", headers=headers).json["username"] == "grace"
    headers["Authorization"] = "Bearer rubbish"
    assert_api_error(person.get("/api/v1/me", headers=headers), 401)


# --- Errors of the protocol ---------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v1/posts/x", "/api/", "/api/v2/posts"])
def test_path_that_is_nothing_is_404_in_json(client: FlaskClient, path: str) -> None:
    assert path in assert_api_error(client.get(path), 404)


def test_method_that_is_not_possible_is_405_with_the_possible_ones(client: FlaskClient) -> None:
    answer = client.put("/api/v1/posts", json=POST)

    assert "PUT is not possible at /api/v1/posts" in assert_api_error(answer, 405)
    assert {"GET", "POST"} <= set(answer.headers["Allow"].split(", "))


@pytest.mark.parametrize("body", ["{", "", "{'a': 1}", "[" * 100_000, b"\xff\xfe"])
def test_body_that_is_not_json_is_400(api: Obtain, body: str | bytes) -> None:
    answer = api("ada").request("POST", "/posts", data=body, content_type="application/json")

    assert_api_error(answer, 400)


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_body_of_another_type_is_415(api: Obtain, content_type: str | None) -> None:
    answer = api("ada").request("POST", "/posts", data="a=b", content_type=content_type)

    assert "application/json" in assert_api_error(answer, 415)


def test_body_that_is_too_large_is_413(app: Flask, api: Obtain) -> None:
    ada = api("ada")
    app.config["MAX_CONTENT_LENGTH"] = 1000

    answer = ada.request("POST", "/posts", json={"title": "T", "body": "x" * 1000})

    assert "at most 1000 bytes" in assert_api_error(answer, 413)


def test_view_that_raises_is_500_without_traceback_and_rolled_back(
    app: Flask, client: FlaskClient, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    user_id = account("ada")

    @app.get("/api/v1/broken")
    def broken() -> str:
        db.session.get_one(User, user_id).username = "changed"
        db.session.flush()
        raise RuntimeError("the secret reason")

    answer = client.get("/api/v1/broken")

    message = assert_api_error(answer, 500)
    assert "secret reason" not in answer.text
    assert "Traceback" not in answer.text
    assert "request id" in message
    assert "the secret reason" in caplog.text
    assert answer.json["request_id"] in caplog.text
    with app.app_context():
        assert db.session.get_one(User, user_id).username == "ada"


@about_sqlite
def test_database_that_is_away_is_503_with_the_time_to_wait(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    with app.app_context():
        Post.__table__.drop(db.engine)

    answer = client.get("/api/v1/posts")

    assert "try again" in assert_api_error(answer, 503)
    assert answer.headers["Retry-After"] == "5"
    assert "no such table" not in answer.text
    assert "no such table" in caplog.text


def test_head_and_options_come_by_themselves(client: FlaskClient) -> None:
    head = client.head("/api/v1/posts")
    assert (head.status_code, head.data) == (200, b"")
    options = client.options("/api/v1/posts")
    assert set(options.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}
