"""Where one is logged in, as records: shown, ended, dated."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask

from tests.webapp.people import ApiClient, Browser, assert_api_error
from tests.webapp.test_credentials import again, is_logged_in
from tests.webapp.test_live_access import revoked
from webapp.columns import utc_now
from webapp.extensions import db
from webapp.records import LoginSession
from webapp.sessions import browser_name

LogIn = Callable[..., Browser]
Obtain = Callable[..., ApiClient]

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0"


def date_back(app: Flask, age: timedelta) -> None:
    with app.app_context():
        db.session.query(LoginSession).update({"seen_at": utc_now() - age})
        db.session.commit()


def test_sessions_are_listed_and_the_present_one_is_named(app: Flask, browser: LogIn) -> None:
    here = browser("ada")
    there = Browser(app)
    there.client.environ_base["HTTP_USER_AGENT"] = FIREFOX
    there.submit("/login", username="ada", password="ada-password")

    page = here.get("/account/sessions").text
    listed = here.get("/api/v1/me/sessions").json["sessions"]

    assert "Firefox on Windows" in page
    assert page.count("This browser.") == 1
    assert page.count("Log out there") == 1
    assert [session["current"] for session in listed] == [False, True]
    assert listed[0]["browser"] == FIREFOX


@pytest.mark.parametrize("by", ["page", "api"])
def test_session_that_is_ended_elsewhere_is_worthless(app: Flask, browser: LogIn, by: str) -> None:
    here = browser("ada")
    there = again(app)
    with app.app_context():
        (there_id,) = db.session.scalars(
            db.select(LoginSession.id).order_by(LoginSession.id.desc()).limit(1)
        )

    if by == "page":
        here.submit(f"/account/sessions/{there_id}/end", form_on="/account/sessions")
    else:
        headers = {"X-CSRFToken": here.csrf_token("/write")}
        answer = here.client.delete(f"/api/v1/me/sessions/{there_id}", headers=headers)
        assert answer.status_code == 204

    assert not is_logged_in(there.client)
    assert is_logged_in(here.client)
    assert revoked(app) == ["1"]


def test_session_of_somebody_else_is_404(app: Flask, browser: LogIn, api: Obtain) -> None:
    ada, grace = browser("ada"), api("grace")

    assert_api_error(grace.request("DELETE", "/me/sessions/1"), 404)
    other = browser("linus").submit("/account/sessions/1/end", form_on="/account/sessions")

    assert other.status_code == 404
    assert is_logged_in(ada.client)


def test_session_in_use_is_noted_once_an_hour(app: Flask, browser: LogIn) -> None:
    ada = browser("ada")

    def seen_ago() -> timedelta:
        with app.app_context():
            return utc_now() - db.session.scalars(db.select(LoginSession.seen_at)).one()

    date_back(app, timedelta(minutes=50))
    ada.get("/")
    assert seen_ago() > timedelta(minutes=49)
    date_back(app, timedelta(minutes=70))
    ada.get("/")
    assert seen_ago() < timedelta(minutes=1)


def test_records_of_sessions_that_have_expired_go_with_the_next_log_in(
    app: Flask, browser: LogIn
) -> None:
    browser("ada")
    date_back(app, app.permanent_session_lifetime + timedelta(hours=3))

    browser("grace")

    with app.app_context():
        assert [record.user_id for record in db.session.query(LoginSession)] == [2]


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (FIREFOX, "Firefox on Windows"),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36",
            "Chrome on Linux",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18 Safari/604",
            "Safari on iPhone",
        ),
        ("curl/8.5.0", "curl"),
        ("", "An unknown browser"),
    ],
)
def test_browser_has_a_name_for_people(user_agent: str, name: str) -> None:
    assert browser_name(user_agent) == name
