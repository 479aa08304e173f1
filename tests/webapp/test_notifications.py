"""Notifications: who is told of what, live and on the page, and that they are one's own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask, g

from tests.webapp.people import ApiClient, Browser, assert_api_error
from webapp import channels, notifications
from webapp.columns import utc_now
from webapp.extensions import db, live
from webapp.models import Notification, User

LogIn = Callable[..., Browser]
Obtain = Callable[..., ApiClient]


def told(person: ApiClient) -> list[tuple[str, str]]:
    listed = person.request("GET", "/me/notifications").json["notifications"]
    return [(each["kind"], each["actor"]) for each in listed]


def test_author_is_told_of_comments_and_not_of_their_own(api: Obtain) -> None:
    ada, grace = api("ada"), api("grace")
    path = f"/posts/{ada.post()}/comments"

    ada.request("POST", path, json={"body": "My own."})
    grace.request("POST", path, json={"body": "Hello."})

    assert told(ada) == [("comment", "grace")]
    assert told(grace) == []


def test_mentioned_people_are_told_once(api: Obtain) -> None:
    ada, grace, linus = api("ada"), api("grace"), api("linus")
    post_id = ada.post("T", "Thanks to @Grace, @grace and @nobody-here, mail@linus.example.")

    grace.request("POST", f"/posts/{post_id}/comments", json={"body": "@ada @linus hello"})

    assert told(grace) == [("mention", "ada")]
    assert told(ada) == [("comment", "grace")]
    assert told(linus) == [("mention", "grace")]


def test_mentions_of_a_text_are_few(app: Flask, api: Obtain, account: Callable[..., int]) -> None:
    names = [f"person{number}" for number in range(notifications.MAX_MENTIONS + 3)]
    for name in names:
        account(name)

    api("ada").post("T", " ".join(f"@{name}" for name in names))

    with app.app_context():
        assert db.session.query(Notification).count() == notifications.MAX_MENTIONS


def test_notification_is_an_event_of_the_same_transaction(app: Flask, api: Obtain) -> None:
    ada, grace = api("ada"), api("grace")
    path = f"/posts/{ada.post('The title')}/comments"
    with live.capture() as events:
        grace.request("POST", path, json={"body": "Hello."})

    (event,) = [event for event in events if event.channel == "user:1"]
    data = app.json.loads(event.data)
    assert event.name == "notification.created"
    assert (data["actor"], data["post_title"], data["unread"]) == ("grace", "The title", 1)


@pytest.mark.parametrize(
    ("channel", "who", "may"),
    [
        ("user:1", 1, True),
        ("user:2", 1, False),
        ("user:1", None, False),
        ("user:01", 1, False),
        ("user:", 1, False),
        ("chat", None, True),
    ],
)
def test_own_channel_is_ones_own(
    app: Flask, account: Callable[..., int], channel: str, who: int | None, may: bool
) -> None:
    account("ada")
    with app.test_request_context("/live/events"):
        g.user = db.session.get(User, who) if who else None
        assert channels.may_read(channel) is may


def test_page_counts_what_is_unread_and_reading_one_leads_to_the_comment(
    browser: LogIn, api: Obtain
) -> None:
    person, grace = browser("ada"), api("grace")
    person.submit("/write", title="Mine", body="B")
    for _ in range(2):
        grace.request("POST", "/posts/1/comments", json={"body": "Hello."})
    home = person.get("/").text
    assert 'data-own-channel="user:1"' in home
    assert "</span>2</span>" in home
    page = person.get("/notifications").text
    assert page.count("(unread)") == 2
    assert "commented on" in page

    opened = person.submit("/notifications/1", form_on="/notifications")

    assert opened.location == "/post/1#comment-1"
    assert "</span>1</span>" in person.get("/").text
    person.submit("/notifications/read", form_on="/notifications")
    assert "(unread)" not in person.get("/notifications").text


def test_notification_of_somebody_else_is_404(browser: LogIn, api: Obtain) -> None:
    ada, grace = api("ada"), api("grace")
    grace.request("POST", f"/posts/{ada.post()}/comments", json={"body": "Hello."})

    assert_api_error(grace.request("POST", "/notifications/1/read".replace("/n", "/me/n")), 404)
    answer = browser("linus").submit("/notifications/1", form_on="/notifications")

    assert answer.status_code == 404
    assert ada.request("GET", "/me/notifications").json["unread"] == 1


def test_notifications_go_with_their_post_and_when_they_are_old(app: Flask, api: Obtain) -> None:
    ada, grace = api("ada"), api("grace")
    first, second = ada.post(), ada.post()
    for post_id in (first, second):
        grace.request("POST", f"/posts/{post_id}/comments", json={"body": "Hello."})

    ada.request("DELETE", f"/posts/{first}")
    assert told(ada) == [("comment", "grace")]
    with app.app_context():
        past = utc_now() - notifications.KEPT - timedelta(days=1)
        db.session.query(Notification).update({"created_at": past})
        db.session.commit()
    assert ada.request("POST", "/me/notifications/read").status_code == 204

    assert told(ada) == []
