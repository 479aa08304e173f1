"""What the database does differently, on PostgreSQL: locks, ranges of words, rows in tuples."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import text
from werkzeug.test import TestResponse

from tests.support.postgres import postgres_server
from tests.webapp.people import ApiClient, Browser, make_app
from tests.webapp.test_idempotency import form_of
from webapp import accounts
from webapp.columns import utc_now
from webapp.database import migrate_if_needed
from webapp.extensions import db
from webapp.models import Post
from webapp.records import DoneOnce

PEOPLE = 4


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """Return an application on PostgreSQL, with one account."""
    folder: Path = tmp_path_factory.mktemp("postgres")
    with postgres_server() as server:
        app = make_app(folder / "x.db", database_url=server.url())
        migrate_if_needed(app)
        with app.app_context():
            accounts.register("ada", "ada-password")
        yield app
        with app.app_context():
            db.session.remove()
            db.engine.dispose()


@pytest.fixture(scope="module")
def ada(app: Flask) -> ApiClient:
    return ApiClient(app, "ada", 1)


def together(send: Callable[[], TestResponse]) -> list[TestResponse]:
    """Return the answers of requests that are sent at the same moment."""
    barrier = threading.Barrier(PEOPLE, timeout=20)
    answers: list[TestResponse] = []

    def run() -> None:
        barrier.wait()
        answers.append(send())

    threads = [threading.Thread(target=run) for _ in range(PEOPLE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == PEOPLE
    return answers


def test_comments_of_the_same_moment_are_all_counted(app: Flask, ada: ApiClient) -> None:
    path = f"/posts/{ada.post()}"
    headers = {"Authorization": f"Bearer {ada.access_token}"}

    def comment() -> TestResponse:
        url = f"/api/v1{path}/comments"
        return app.test_client().post(url, json={"body": "C"}, headers=headers)

    assert {answer.status_code for answer in together(comment)} == {201}
    assert ada.request("GET", path).json["comment_count"] == PEOPLE


def test_forms_of_the_same_moment_make_one_post(app: Flask, ada: ApiClient) -> None:
    person = Browser(app)
    person.submit("/login", username="ada", password="ada-password")
    form = form_of(person, "/write") | {"title": "Once", "body": "B"}
    cookie = person.client.get_cookie("session")
    assert cookie is not None

    def send() -> TestResponse:
        client = app.test_client()
        client.set_cookie("session", cookie.value)
        return client.post("/write", data=form)

    answers = together(send)

    assert {answer.status_code for answer in answers} == {302}
    assert len({answer.location for answer in answers}) == 1
    with app.app_context():
        assert db.session.query(Post).filter_by(title="Once").count() == 1


def test_edits_of_the_same_moment_are_one_edit_and_conflicts(app: Flask, ada: ApiClient) -> None:
    path = f"/api/v1/posts/{ada.post()}"
    headers = {"Authorization": f"Bearer {ada.access_token}"}

    answers = together(
        lambda: app.test_client().patch(path, json={"title": "N", "version": 1}, headers=headers)
    )

    assert sorted(answer.status_code for answer in answers) == [200, *[409] * (PEOPLE - 1)]
    assert ada.request("GET", path.removeprefix("/api/v1")).json["version"] == 2


def test_search_finds_beginnings_whatever_the_databases_order_is(ada: ApiClient) -> None:
    ada.post("Zebra crossing", "Übermut, 東京.")

    for query in ("zeb", "crossing zebra", "ubermu", "東", "crossing 京"):
        found = ada.request("GET", "/search", query_string={"q": query}).json["posts"]
        assert [post["title"] for post in found] == ["Zebra crossing"], query
    assert ada.request("GET", "/search", query_string={"q": "zebras"}).json["posts"] == []


def test_old_notes_of_requests_are_removed(app: Flask, ada: ApiClient) -> None:
    send = {"title": "T", "body": "B"}
    ada.request("POST", "/posts", json=send, headers={"Idempotency-Key": "old"})
    with app.app_context():
        db.session.query(DoneOnce).update({"created_at": utc_now() - timedelta(hours=25)})
        db.session.commit()

    ada.request("POST", "/posts", json=send, headers={"Idempotency-Key": "new"})

    with app.app_context():
        assert db.session.query(DoneOnce).count() == 1


def test_words_are_in_an_index_that_serves_their_beginnings(app: Flask) -> None:
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        query = "SELECT post_id FROM search_word WHERE word BETWEEN 'ze' AND 'ze\U0010ffff'"
        plan = "\n".join(connection.execute(text(f"EXPLAIN {query}")).scalars())

    assert "Index Cond: (((word)" in plan
