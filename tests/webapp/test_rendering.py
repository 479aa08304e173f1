"""A post's HTML is made when it is written: refused there, kept, and made again when asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import flask_migrate
import pytest
from flask import Flask
from sqlalchemy import text

from tests.webapp.people import ApiClient, Browser, assert_api_error, make_app
from tests.webapp.test_markdown import COSTLY
from webapp import database, markdown, posts
from webapp.extensions import db
from webapp.models import Post, User
from webapp.rerender import BATCH_POSTS

LogIn = Callable[..., Browser]
Obtain = Callable[..., ApiClient]
TABLE = COSTLY["a table of empty cells"]


def no_rendering(_text: str) -> markdown.Rendered:
    pytest.fail("a page rendered Markdown")


def test_page_shows_the_stored_html_and_renders_nothing(
    app: Flask, browser: LogIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = browser("ada")
    person.submit("/write", title="A title", body="*Hello* <b>")
    monkeypatch.setattr(markdown, "render", no_rendering)

    assert "<p><em>Hello</em> &lt;b&gt;</p>" in Browser(app).get("/post/1").text
    assert "Hello" in Browser(app).get("/").text


def test_edit_stores_the_html_of_the_new_text(app: Flask, api: Obtain) -> None:
    ada = api("ada")
    post_id = ada.post(body="*old*")
    ada.request("PATCH", f"/posts/{post_id}", json={"title": "Another title"})
    assert "<em>old</em>" in Browser(app).get(f"/post/{post_id}").text
    ada.request("PATCH", f"/posts/{post_id}", json={"body": "*new*"})
    page = Browser(app).get(f"/post/{post_id}").text
    assert "<em>new</em>" in page
    assert ">old<" not in page


def test_post_over_the_budget_is_refused_beside_the_text_and_the_text_is_kept(
    browser: LogIn,
) -> None:
    answer = browser("ada").submit("/write", title="A title", body=TABLE)

    assert answer.status_code == 422
    assert "this one has too many: shorten its tables and lists" in answer.text
    assert "x\nx\nx\n" in answer.text


def test_post_over_the_budget_is_422_in_the_api(api: Obtain) -> None:
    ada = api("ada")
    post_id = ada.post()

    for method, path in (("POST", "/posts"), ("PATCH", f"/posts/{post_id}")):
        answer = ada.request(method, path, json={"title": "A title", "body": TABLE})
        assert "body: A post has a limited number" in assert_api_error(answer, 422)


def test_lists_do_not_load_the_html(app: Flask, api: Obtain) -> None:
    api("ada").post()
    with app.app_context():
        assert "body_html" not in str(posts.all_posts())
        loaded = db.session.scalars(posts.all_posts()).one()
        assert "body_html" not in vars(loaded)


@pytest.fixture
def old_posts(tmp_path: Path) -> Flask:
    """Return an application on a database of the first revision, with posts in several batches."""
    app = make_app(tmp_path / "old.db")
    with app.app_context():
        flask_migrate.upgrade(revision="0001")
        user = {"id": 1, "at": "2026-01-01 00:00:00"}
        rows = [user | {"body": f"*post {n}*"} for n in range(2 * BATCH_POSTS)]
        rows.append(user | {"body": TABLE})
        with db.engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO user_account VALUES (:id, 'ada', 'ada', 'x', 'user', false, :at)"
                ),
                user,
            )
            connection.execute(
                text(
                    "INSERT INTO post (author_id, title, body, excerpt, created_at, updated_at)"
                    " VALUES (:id, 'A title', :body, 'x', :at, :at)"
                ),
                rows,
            )
    return app


def html_of_all(app: Flask) -> list[str]:
    with app.app_context(), db.engine.connect() as connection:
        return list(connection.scalars(text("SELECT body_html FROM post ORDER BY id")))


def test_migration_fills_the_html_of_old_posts_and_leaves_out_the_markup_of_costly_ones(
    old_posts: Flask,
) -> None:
    assert database.migrate_if_needed(old_posts)

    *ordinary, costly = html_of_all(old_posts)
    assert ordinary == [f"<p><em>post {n}</em></p>\n" for n in range(2 * BATCH_POSTS)]
    assert costly.startswith("<pre>a|a|a|")
    assert "<td>" not in costly


def test_migration_can_be_taken_back(old_posts: Flask) -> None:
    database.migrate_if_needed(old_posts)

    with old_posts.app_context():
        flask_migrate.downgrade(revision="0001")
        with db.engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM post")) == 2 * BATCH_POSTS + 1


def test_posts_render_makes_the_html_again(app: Flask, api: Obtain) -> None:
    api("ada").post(body="*Hello*")
    with app.app_context():
        db.session.query(Post).update({"body_html": "<p>by an older allow-list</p>"})
        db.session.commit()

    result = app.test_cli_runner().invoke(args=["posts", "render"])

    assert result.output == "1 posts rendered.\n"
    assert html_of_all(app) == ["<p><em>Hello</em></p>\n"]


def test_post_edited_while_it_is_rendered_again_keeps_its_new_html(
    app: Flask, api: Obtain, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = api("ada")
    ada.post(body="*old*")
    render = markdown.render_any

    def slow_render(body: str) -> str:
        monkeypatch.setattr(markdown, "render_any", render)
        assert ada.request("PATCH", "/posts/1", json={"body": "*new*"}).status_code == 200
        return render(body)

    monkeypatch.setattr(markdown, "render_any", slow_render)
    app.test_cli_runner().invoke(args=["posts", "render"], catch_exceptions=False)

    assert html_of_all(app) == ["<p><em>new</em></p>\n"]


def test_demonstration_posts_have_their_html(app: Flask) -> None:
    app.test_cli_runner().invoke(args=["demo"], catch_exceptions=False)

    assert all(html.startswith("<") for html in html_of_all(app))
    with app.app_context():
        assert db.session.query(User).count() == 3
