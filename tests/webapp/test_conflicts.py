"""Two edits of one post: on the pages, by version, by ETag, and at the very same moment."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.webapp.people import ApiClient, Browser, assert_api_error
from tests.webapp.test_idempotency import form_of
from webapp import posts
from webapp.extensions import db
from webapp.models import Post

LogIn = Callable[..., Browser]
Obtain = Callable[..., ApiClient]


def text_of(app: Flask) -> str:
    with app.app_context():
        return db.session.query(Post).one().body


def test_second_edit_meets_the_first_and_loses_nothing(app: Flask, browser: LogIn) -> None:
    person = browser("ada")
    person.submit("/write", title="T", body="Old")
    here, there = (form_of(person, "/post/1/edit") for _ in range(2))

    person.client.post("/post/1/edit", data=here | {"title": "T", "body": "From here"})
    conflict = person.client.post("/post/1/edit", data=there | {"title": "T", "body": "From there"})

    assert conflict.status_code == 409
    assert "From here" in conflict.text
    assert "From there</textarea>" in conflict.text
    assert 'data-draft="keep"' in conflict.text
    assert text_of(app) == "From here"


def test_conflict_page_saves_what_was_merged(app: Flask, browser: LogIn) -> None:
    person = browser("ada")
    person.submit("/write", title="T", body="Old")
    form = form_of(person, "/post/1/edit")
    person.client.post("/post/1/edit", data=form | {"title": "T", "body": "From here"})
    stale = form | {"form_key": "another", "title": "T", "body": "Both"}
    conflict = person.client.post("/post/1/edit", data=stale)
    assert 'name="version" type="hidden" value="2"' in conflict.text

    saved = person.client.post("/post/1/edit", data=stale | {"version": "2"})

    assert saved.status_code == 302
    assert text_of(app) == "Both"


def test_api_version_that_is_not_the_present_one_is_409(api: Obtain) -> None:
    ada = api("ada")
    path = f"/posts/{ada.post()}"

    first = ada.request("PATCH", path, json={"title": "One", "version": 1})
    second = ada.request("PATCH", path, json={"title": "Two", "version": 1})

    assert first.json["version"] == 2
    assert "read it again" in assert_api_error(second, 409)
    assert ada.request("PATCH", path, json={"title": "Three"}).json["version"] == 3


def test_etag_answers_304_and_guards_changes(client: FlaskClient, api: Obtain) -> None:
    ada = api("ada")
    path = f"/posts/{ada.post()}"
    tag = client.get(f"/api/v1{path}").headers["ETag"]

    unchanged = client.get(f"/api/v1{path}", headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.data) == (304, b"")
    changed = ada.request("PATCH", path, json={"title": "New"}, headers={"If-Match": tag})
    assert changed.status_code == 200
    for method in ("PATCH", "DELETE"):
        stale = ada.request(method, path, json={"title": "X"}, headers={"If-Match": tag})
        assert_api_error(stale, 412)
    assert client.get(f"/api/v1{path}", headers={"If-None-Match": tag}).status_code == 200
    assert ada.request("DELETE", path, headers={"If-Match": "*"}).status_code == 204


def test_etag_of_a_compressed_answer_guards_changes_too(client: FlaskClient, api: Obtain) -> None:
    ada = api("ada")
    path = f"/posts/{ada.post('T', 'A long text. ' * 100)}"
    compressed = client.get(f"/api/v1{path}", headers={"Accept-Encoding": "gzip"})
    assert compressed.headers["Content-Encoding"] == "gzip"
    tag = compressed.headers["ETag"]

    headers = {"Accept-Encoding": "gzip", "If-None-Match": tag}
    assert client.get(f"/api/v1{path}", headers=headers).status_code == 304
    changed = ada.request("PATCH", path, json={"title": "New"}, headers={"If-Match": tag})
    assert changed.status_code == 200


@pytest.mark.parametrize("change", ["edit", "delete"])
def test_edit_of_what_another_transaction_has_changed_is_refused(
    app: Flask, api: Obtain, change: str
) -> None:
    post_id = api("ada").post()
    with app.app_context():
        read = db.session.get_one(Post, post_id)
        with db.engine.begin() as other:
            other.execute(db.update(Post).values(version=2, body="theirs"))

        with pytest.raises(posts.EditedMeanwhileError):
            posts.edit(read, body="mine") if change == "edit" else posts.delete(read)
        db.session.rollback()

    assert text_of(app) == "theirs"
