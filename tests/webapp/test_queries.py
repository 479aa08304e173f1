"""What a page asks of the database does not grow with what is on it; who reads gets no cookie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event

from tests.webapp.people import ApiClient, Browser
from webapp import posts
from webapp.extensions import db
from webapp.models import ADMIN, User

LogIn = Callable[..., Browser]
Obtain = Callable[..., ApiClient]

MANY = 15
PAGES = {
    "/": 5,
    "/person0": 6,
    "/post/1": 8,
    "/search?q=post": 6,
    "/notifications": 5,
    "/account/sessions": 5,
    "/account/tokens": 5,
    "/admin": 5,
    "/admin/content": 6,
    "/api/v1/posts": 3,
    "/api/v1/posts/1/comments": 4,
    "/api/v1/search?q=post": 4,
    "/api/v1/me/notifications": 4,
    "/api/v1/admin/users": 4,
}
"""The most statements that each page may take, for a person who is logged in."""


@contextmanager
def statements(app: Flask) -> Iterator[list[str]]:
    """Collect the statements that are run in the block."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_others: object) -> None:
        if not statement.startswith("PRAGMA"):
            seen.append(statement)

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def fill(app: Flask, number: int) -> None:
    """Add a person with a post that mentions the administrator, and a comment on the first post."""
    with app.app_context():
        name = f"person{number}"
        user = User(username=name, username_key=name, password_hash="x")
        db.session.add(user)
        db.session.flush()
        posts.create(user, f"Post {number}", "Hello, @boss.")
        first = db.session.get_one(posts.Post, 1)
        posts.add_comment(first, user, f"Comment {number}")
        db.session.commit()


def test_no_query_grows_with_the_page(app: Flask, browser: LogIn) -> None:
    boss = browser("boss", ADMIN)
    fill(app, 0)
    boss.get("/")  # what is asked once in a process's life is asked here
    counts: dict[str, list[int]] = {path: [] for path in PAGES}
    for round_ in range(2):
        for path, taken in counts.items():
            with statements(app) as seen:
                assert boss.get(path).status_code == 200
            taken.append(len(seen))
            # A list shows the beginnings of its posts, and reads no more of them.
            assert path == "/post/1" or "/api/" in path or not any("post.body" in s for s in seen)
        if round_ == 0:
            for number in range(1, MANY):
                fill(app, number)

    for path, (few, many) in counts.items():
        assert many == few, f"{path} takes {few} statements with one row, {many} with {MANY}"
        assert many <= PAGES[path], f"{path} takes {many} statements"


@pytest.mark.parametrize(
    "path",
    ["/", "/ada", "/post/1", "/search?q=text", "/chat", "/api/docs", "/api/v1/posts", "/nothing"],
)
def test_who_only_reads_gets_no_cookie(client: FlaskClient, api: Obtain, path: str) -> None:
    api("ada").post()

    answer = client.get(path)

    assert "Set-Cookie" not in answer.headers


def test_avatar_needs_no_database_and_may_be_kept(app: Flask, client: FlaskClient) -> None:
    with statements(app) as seen:
        first, second = client.get("/avatars/Ada.svg"), client.get("/avatars/ada.svg")

    assert seen == []
    assert first.data == second.data
    assert first.data.startswith(b"<svg xmlns")
    assert first.data != client.get("/avatars/grace.svg").data
    assert "immutable" in first.headers["Cache-Control"]
    assert client.get("/avatars/a.svg").status_code == 404
