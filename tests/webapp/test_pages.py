"""The pages: reading, writing, and what they carry for live updates."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.webapp.people import ApiClient, Browser
from webapp.extensions import db, live
from webapp.models import ADMIN, Comment, Post

Account = Callable[..., int]
LogIn = Callable[..., Browser]
Obtain = Callable[..., ApiClient]


def test_timeline_of_nobody_says_so(client: FlaskClient) -> None:
    answer = client.get("/")

    assert answer.status_code == 200
    assert "Nobody has written anything yet." in answer.text


def test_timeline_shows_newest_first_in_pages(client: FlaskClient, api: Obtain) -> None:
    author = api("ada")
    for number in range(25):
        author.post(f"Post number {number:02}")

    first = client.get("/").text
    (older,) = re.findall(r'rel="next" href="(\?before=\d+)"', first)
    second = client.get(f"/{older}").text

    titles = [f"Post number {number:02}" for number in reversed(range(25))]
    assert re.findall(r"Post number \d\d", first) == titles[:20]
    assert re.findall(r"Post number \d\d", second) == titles[20:]
    assert 'rel="next"' not in second


def test_timeline_first_page_carries_channel_and_cursor(app: Flask, client: FlaskClient) -> None:
    page = client.get("/").text

    with app.app_context():
        assert f'data-live-channel="posts" data-live-cursor="{live.cursor()}"' in page
    assert "data-live" not in client.get("/?before=5").text.replace("data-live-status", "")


def test_page_says_whose_it_is(app: Flask, client: FlaskClient, browser: LogIn) -> None:
    state = app.extensions["live"]

    assert 'data-live-key="anonymous"' in client.get("/").text
    ada = browser("ada")
    assert f'data-live-key="{state.page_key("1")}"' in ada.client.get("/").text


def test_timeline_cursor_that_is_none_is_400(client: FlaskClient) -> None:
    answer = client.get("/?before=yesterday")

    assert answer.status_code == 400
    assert "before=yesterday" in answer.text


def test_profile_shows_one_persons_posts(client: FlaskClient, api: Obtain) -> None:
    api("ada").post("By Ada")
    api("grace").post("By Grace")

    page = client.get("/ada")

    assert page.status_code == 200
    assert "By Ada" in page.text
    assert "By Grace" not in page.text


def test_profile_in_another_case_redirects_to_the_name_as_it_is(
    client: FlaskClient, account: Account
) -> None:
    account("Ada")

    answer = client.get("/aDA")

    assert (answer.status_code, answer.location) == (301, "/Ada")


def test_profile_of_somebody_without_posts_says_so(client: FlaskClient, account: Account) -> None:
    account("ada")

    assert "ada has written nothing yet." in client.get("/ada").text


@pytest.mark.parametrize("path", ["/nobody-here", "/favicon.ico", "/a%00b", "/user/nobody-here"])
def test_profile_of_nobody_is_404(client: FlaskClient, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 404
    assert answer.mimetype == "text/html"


def test_user_redirects_to_the_shorter_address(client: FlaskClient, account: Account) -> None:
    account("ada")

    answer = client.get("/user/ADA")

    assert (answer.status_code, answer.location) == (301, "/ada")


def test_post_is_shown_as_safe_html_with_its_comments(client: FlaskClient, api: Obtain) -> None:
    author = api("ada")
    post_id = author.post("A <title>", "**Strong** <script>alert(1)</script> [x](javascript:y)")
    author.request("POST", f"/posts/{post_id}/comments", json={"body": "Five > four"})

    page = client.get(f"/post/{post_id}")

    assert page.status_code == 200
    assert '<h1 dir="auto">A &lt;title&gt;</h1>' in page.text
    assert "<strong>Strong</strong>" in page.text
    assert "<script>alert" not in page.text
    assert "javascript:" not in re.sub(r"\[x\]\(.*?\)", "", page.text)
    assert "Five &gt; four" in page.text
    assert "1 comment<" in page.text
    assert re.search(rf'data-live-channel="post:{post_id}" data-live-cursor="\w+:\d+"', page.text)


@pytest.mark.parametrize("path", ["/post/1", "/post/0", "/post/99999999999999999999"])
def test_post_that_is_not_there_is_404(client: FlaskClient, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 404
    assert "There is no post" in answer.text


def test_post_with_many_comments_shows_the_newest_and_links_to_the_earlier(
    app: Flask, client: FlaskClient, api: Obtain
) -> None:
    author = api("ada")
    post_id = author.post()
    with app.app_context():
        db.session.add_all(
            Comment(post_id=post_id, author_id=author.user_id, body=f"Comment {number:03}")
            for number in range(103)
        )
        db.session.commit()

    page = client.get(f"/post/{post_id}").text
    (earlier,) = re.findall(r'href="(\?before=\d+)#comments-heading"', page)
    earlier_page = client.get(f"/post/{post_id}{earlier}").text

    assert re.findall(r"Comment \d{3}", page) == [f"Comment {n:03}" for n in range(3, 103)]
    assert re.findall(r"Comment \d{3}", earlier_page) == [f"Comment {n:03}" for n in range(3)]
    assert "data-live-cursor" not in earlier_page


def test_write_publishes_a_post(app: Flask, browser: LogIn) -> None:
    person = browser("ada")

    answer = person.submit("/write", title="My title", body="My *text*.", follow=True)

    assert answer.status_code == 200
    assert '<h1 dir="auto">My title</h1>' in answer.text
    assert "<em>text</em>" in answer.text
    with app.app_context():
        post = db.session.query(Post).one()
        assert (post.body, post.excerpt) == ("My *text*.", "My text.")
        assert post.created_at == post.updated_at


def test_write_refusal_is_beside_its_field_and_loses_nothing(app: Flask, browser: LogIn) -> None:
    person = browser("ada")

    answer = person.submit("/write", title="x" * 201, body="A long and careful text")

    assert answer.status_code == 422
    assert "A title has at most 200 characters; this one has 201." in answer.text
    assert "A long and careful text</textarea>" in answer.text
    assert "x" * 201 in answer.text
    with app.app_context():
        assert db.session.query(Post).count() == 0


@pytest.mark.parametrize("path", ["/write", "/post/1/edit", "/post/1/delete"])
def test_page_for_accounts_sends_others_to_the_login(client: FlaskClient, path: str) -> None:
    answer = client.get(path)

    assert (answer.status_code, answer.location) == (302, f"/login?next={path}")


def test_edit_changes_the_text_and_says_so(browser: LogIn) -> None:
    person = browser("ada")
    person.submit("/write", title="Old", body="Old text")
    assert 'value="Old"' in person.get("/post/1/edit").text

    answer = person.submit("/post/1/edit", title="New", body="New text", follow=True)

    assert '<h1 dir="auto">New</h1>' in answer.text
    assert "New text" in answer.text
    assert "edited" in answer.text


def test_delete_asks_first_and_deletes_by_post_only(client: FlaskClient, browser: LogIn) -> None:
    person = browser("ada")
    person.submit("/write", title="Doomed", body="Text")

    assert "Delete “Doomed”?" in person.get("/post/1/delete").text
    assert client.get("/post/1").status_code == 200
    answer = person.submit("/post/1/delete", follow=True)

    assert "“Doomed” is deleted." in answer.text
    assert client.get("/post/1").status_code == 404


@pytest.mark.parametrize("action", ["edit", "delete"])
def test_post_of_somebody_else_is_403(browser: LogIn, action: str) -> None:
    browser("ada").submit("/write", title="Hers", body="Text")
    other = browser("grace")

    assert other.get(f"/post/1/{action}").status_code == 403
    refused = other.submit(f"/post/1/{action}", form_on="/write", title="Mine", body="Mine")
    assert refused.status_code == 403
    assert "Edit" not in other.get("/post/1").text


def test_post_of_somebody_else_may_be_deleted_by_an_administrator(browser: LogIn) -> None:
    browser("ada").submit("/write", title="Hers", body="Text")

    answer = browser("grace", ADMIN).submit("/post/1/delete")

    assert answer.status_code == 302


def test_comment_appears_below_the_post(browser: LogIn) -> None:
    person = browser("ada")
    person.submit("/write", title="Title", body="Text")

    answer = person.submit("/post/1/comments", form_on="/post/1", body="Well said.\r\nYes.")

    assert answer.location == "/post/1#comment-1"
    assert "Well said.\nYes." in person.get("/post/1").text


def test_comment_refusal_is_on_the_page_and_loses_nothing(browser: LogIn) -> None:
    person = browser("ada")
    person.submit("/write", title="Title", body="Text")

    answer = person.submit("/post/1/comments", form_on="/post/1", body="y" * 2001)

    assert answer.status_code == 422
    assert "A comment has at most 2000 characters; this one has 2001." in answer.text
    assert "y" * 2001 in answer.text


def test_comment_by_nobody_is_sent_to_the_login(app: Flask, api: Obtain) -> None:
    post_id = api("ada").post()

    answer = Browser(app).submit(f"/post/{post_id}/comments", form_on="/login", body="Hello")

    assert (answer.status_code, answer.location) == (302, "/login")


def test_comment_on_nothing_is_404(browser: LogIn) -> None:
    answer = browser("ada").submit("/post/7/comments", form_on="/write", body="Hello")

    assert answer.status_code == 404


def test_template_for_live_posts_is_filled_from_the_apis_fields(
    client: FlaskClient, api: Obtain
) -> None:
    author = api("ada")
    post_id = author.post()
    answer = author.request("POST", f"/posts/{post_id}/comments", json={"body": "Hello"})
    card = re.search(r'<template id="post-card">(.*?)</template>', client.get("/").text, re.S)
    page = client.get(f"/post/{post_id}").text
    item = re.search(r'<template id="comment-item">(.*?)</template>', page, re.S)
    assert card is not None
    assert item is not None

    post_fields = set(re.findall(r'data-field="(\w+)"', card[1]))
    comment_fields = set(re.findall(r'data-field="(\w+)"', item[1]))

    assert post_fields == {"title", "author", "created_at", "comment_count", "excerpt"}
    assert post_fields <= set(author.request("GET", f"/posts/{post_id}").json)
    assert comment_fields == {"author", "created_at", "body"}
    assert comment_fields <= set(answer.json)


@pytest.mark.parametrize(
    ("name", "content_type"),
    [("site.css", "text/css"), ("site.js", "text/javascript"), ("icon.svg", "image/svg+xml")],
)
def test_static_file_is_served(client: FlaskClient, name: str, content_type: str) -> None:
    with client.get(f"/static/{name}") as answer:
        assert answer.status_code == 200
        assert answer.mimetype == content_type


def test_pages_load_nothing_from_other_sites(client: FlaskClient, api: Obtain) -> None:
    post_id = api("ada").post("Title", "![spy](https://spy.example/x.png)")

    for path in ("/", "/login", f"/post/{post_id}"):
        page = client.get(path).text
        for address in re.findall(r'(?:src|<link[^>]* href)="([^"]+)"', page):
            assert address.startswith("/")
    with client.get("/static/site.css") as answer:
        assert b"http" not in answer.data
