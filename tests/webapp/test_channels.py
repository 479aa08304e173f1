"""Live events: who may read which channel, and what a change tells."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from flasknado.live import Live
from tests.webapp.people import ApiClient, Browser, needs_offsets
from webapp import posts
from webapp.channels import may_read
from webapp.extensions import db, live
from webapp.models import User

Account = Callable[..., int]
LogIn = Callable[..., Browser]
Obtain = Callable[..., ApiClient]


def test_channels_that_everybody_may_read(app: Flask, api: Obtain) -> None:
    post_id = api("ada").post()

    with app.test_request_context("/live/events"):
        app.preprocess_request()
        assert live.may_read("posts")
        assert live.may_read(f"post:{post_id}")


@pytest.mark.parametrize(
    "channel",
    [
        "",
        "POSTS",
        "posts:1",
        "post",
        "post:",
        "post:0",
        "post:01",
        "post:2",
        "post:x",
        "post:1 ",
        "post:1\n",
        "post:²",
        "post:99999999999999999999",
        "user:1",
    ],
)
def test_channels_that_nobody_may_read(app: Flask, api: Obtain, channel: str) -> None:
    assert api("ada").post() == 1

    with app.test_request_context("/live/events"):
        assert may_read(channel) is False


def test_events_carry_the_apis_objects(app: Flask, api: Obtain) -> None:
    ada = api("ada")
    with live.capture() as events:
        created = ada.request("POST", "/posts", json={"title": "T", "body": "B"}).json
        path = f"/posts/{created['id']}"
        comment = ada.request("POST", f"{path}/comments", json={"body": "C"}).json
        edited = ada.request("PATCH", path, json={"title": "T2"}).json
        ada.request("DELETE", path)

    own = f"post:{created['id']}"
    gone = {"id": created["id"]}
    counted = {"id": created["id"], "comment_count": 1}
    assert [(event.channel, event.name, app.json.loads(event.data)) for event in events] == [
        ("posts", "post.created", created),
        (own, "comment.created", comment),
        ("posts", "post.commented", counted),
        (own, "post.commented", counted),
        ("posts", "post.updated", edited),
        (own, "post.updated", edited),
        ("posts", "post.deleted", gone),
        (own, "post.deleted", gone),
    ]


def test_events_come_from_the_pages_too(browser: LogIn) -> None:
    person = browser("ada")
    with live.capture() as events:
        person.submit("/write", title="T", body="B")
        person.submit("/post/1/comments", form_on="/post/1", body="C")
        person.submit("/post/1/edit", title="T2", body="B2")
        person.submit("/post/1/delete")

    names = [event.name for event in events if event.channel == "posts"]
    assert names == ["post.created", "post.commented", "post.updated", "post.deleted"]
    assert "comment.created" in [event.name for event in events if event.channel == "post:1"]


def test_event_of_a_change_that_is_rolled_back_is_never_told(app: Flask, account: Account) -> None:
    user_id = account("ada")

    with app.app_context(), live.capture() as events:
        before = live.cursor()
        posts.create(db.session.get_one(User, user_id), "T", "B")
        db.session.rollback()

        assert live.cursor() == before
    assert events == []


def test_event_of_the_longest_post_fits(api: Obtain) -> None:
    answer = api("ada").request(
        "POST", "/posts", json={"title": "\U0001f300" * 200, "body": "\U0001f300" * 20_000}
    )

    assert answer.status_code == 201


@needs_offsets
def test_live_cursor_on_a_page_is_from_before_its_data(
    app: Flask, api: Obtain, browser: LogIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, person = api("ada"), browser("grace")
    read_cursor = Live.cursor

    def cursor_and_then_a_post(self: Live) -> str:
        cursor = read_cursor(self)
        with app.app_context():
            posts.create(db.session.get_one(User, ada.user_id), "In between", "B")
            db.session.commit()
        return cursor

    monkeypatch.setattr(Live, "cursor", cursor_and_then_a_post)
    page = person.get("/").text
    monkeypatch.undo()

    assert "In between" in page
    with app.app_context():
        assert f'data-live-cursor="{live.cursor()}"' not in page
