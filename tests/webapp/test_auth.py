"""Registering, logging in and out in a browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.webapp.people import Browser
from webapp.auth.redirects import safe_path
from webapp.extensions import db
from webapp.models import ADMIN, User

Account = Callable[..., int]
LogIn = Callable[..., Browser]


def test_register_makes_an_account_and_logs_in(app: Flask) -> None:
    browser = Browser(app)

    answer = browser.submit("/register", username="Ada", password="ada-password", follow=True)

    assert answer.status_code == 200
    assert answer.request.path == "/"
    assert "Welcome, Ada." in answer.text
    assert "Log out" in answer.text


@pytest.mark.parametrize(
    ("username", "password", "sentence"),
    [
        ("a", "ada-password", "A username has 3 to 30 letters"),
        ("admin", "ada-password", "The name admin is reserved"),
        ("grace", "short", "this one has 5 characters"),
        ("grace", "x" * 73, "this one has 73 bytes"),
        ("grace", "", "this one has 0 characters"),
        ("ADA", "ada-password", "The name ADA is taken"),
    ],
)
def test_register_refusal_is_beside_its_field_and_the_name_is_kept(
    app: Flask, account: Account, username: str, password: str, sentence: str
) -> None:
    account("ada")

    answer = Browser(app).submit("/register", username=username, password=password)

    assert answer.status_code == 422
    assert sentence in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert f'value="{username}"' in answer.text
    assert "ada-password" not in answer.text


def test_login_opens_a_session(app: Flask, account: Account) -> None:
    account("ada")
    browser = Browser(app)

    answer = browser.submit("/login", username="ADA", password="ada-password")

    assert (answer.status_code, answer.location) == (302, "/")
    assert "Log out" in browser.get("/").text
    assert browser.get("/login").location == "/", "who is logged in needs no form"


@pytest.mark.parametrize(("username", "password"), [("ada", "wrong"), ("grace", "ada-password")])
def test_login_refusal_does_not_tell_which_of_the_two_is_wrong(
    app: Flask, account: Account, username: str, password: str
) -> None:
    account("ada")

    answer = Browser(app).submit("/login", username=username, password=password)

    assert answer.status_code == 422
    assert "There is no such username with this password." in answer.text
    assert f'value="{username}"' in answer.text


def test_login_with_empty_fields_asks_for_both(app: Flask) -> None:
    answer = Browser(app).submit("/login", username="", password="")

    assert answer.status_code == 422
    assert "Type your username." in answer.text
    assert "Type your password." in answer.text


def test_login_of_a_disabled_account_is_refused(app: Flask, account: Account) -> None:
    user_id = account("ada")
    with app.app_context():
        db.session.get_one(User, user_id).disabled = True
        db.session.commit()

    answer = Browser(app).submit("/login", username="ada", password="ada-password")

    assert answer.status_code == 422
    assert "The account ada is disabled." in answer.text


def test_session_of_an_account_disabled_later_is_nobodys(app: Flask, browser: LogIn) -> None:
    person = browser("ada")
    with app.app_context():
        db.session.query(User).update({"disabled": True})
        db.session.commit()

    assert "Log out" not in person.get("/").text


def test_login_keeps_nothing_of_the_session_before_it(app: Flask, account: Account) -> None:
    account("ada")
    browser = Browser(app)
    token_before = browser.csrf_token()
    with browser.client.session_transaction() as session:
        session["planted"] = "by an attacker"

    browser.submit("/login", username="ada", password="ada-password")

    with browser.client.session_transaction() as session:
        assert set(session) == {"user_id", "session_id", "generation"}
    stale = browser.client.post("/logout", data={"csrf_token": token_before})
    assert stale.status_code == 400, "a form token from before the log-in is worthless"


def test_logout_ends_the_session(browser: LogIn) -> None:
    person = browser("ada")

    answer = person.submit("/logout", form_on="/", follow=True)

    assert "You are logged out." in answer.text
    assert "Log out" not in answer.text
    assert person.get("/write").location == "/login?next=/write"


def test_logout_by_get_does_not_log_out(browser: LogIn) -> None:
    person = browser("ada")

    assert person.get("/logout").status_code == 404
    assert "Log out" in person.get("/").text


@pytest.mark.parametrize("path", ["/login", "/register", "/logout"])
def test_form_without_csrf_token_is_400(client: FlaskClient, path: str) -> None:
    answer = client.post(path, data={"username": "ada", "password": "ada-password"})

    assert answer.status_code == 400
    assert answer.mimetype == "text/html"
    assert "CSRF" in answer.text


def test_form_with_csrf_token_of_another_session_is_400(app: Flask, browser: LogIn) -> None:
    stolen = Browser(app).csrf_token()

    answer = browser("ada").client.post("/logout", data={"csrf_token": stolen})

    assert answer.status_code == 400


def test_login_goes_on_to_where_the_person_wanted_to_go(app: Flask, account: Account) -> None:
    account("ada")
    browser = Browser(app)
    login_page = browser.get("/write").location

    answer = browser.submit(login_page, username="ada", password="ada-password")

    assert answer.location == "/write"


def test_login_with_next_of_another_site_goes_home(app: Flask, account: Account) -> None:
    account("ada")

    answer = Browser(app).submit(
        "/login?next=https://evil.example/", username="ada", password="ada-password"
    )

    assert answer.location == "/"


@pytest.mark.parametrize("path", ["/", "/write", "/post/1?before=3#comments", "/ada?x=http://y"])
def test_safe_path_of_this_site_is_kept(path: str) -> None:
    assert safe_path(path, "/home") == path


@pytest.mark.parametrize(
    "path",
    [
        None,
        "",
        "write",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "/ /evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/x\r\nSet-Cookie: a=b",
    ],
)
def test_safe_path_that_could_lead_away_is_replaced(path: str | None) -> None:
    assert safe_path(path, "/home") == "/home"


def test_admin_role_is_not_for_the_asking(app: Flask) -> None:
    Browser(app).submit("/register", username="mallory", password="a-password", role=ADMIN)

    with app.app_context():
        assert db.session.query(User).one().role == "user"


# --- A form that meets the session's end --------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "referrer", "location"),
    [
        ("/write", "http://localhost/write", "/login?next=/write"),
        ("/post/1/comments", "http://localhost/post/1?before=5", "/login?next=/post/1"),
        ("/write", "https://evil.example/phish", "/login?next=/phish"),
        ("/write", None, "/login"),
    ],
)
def test_form_without_a_session_leads_to_the_login_and_back(
    client: FlaskClient, path: str, referrer: str | None, location: str
) -> None:
    headers = {"Referer": referrer} if referrer else {}

    answer = client.post(path, data={"body": "B"}, headers=headers)

    assert (answer.status_code, answer.location) == (302, location)
    assert "You were logged out." in client.get("/login").text


def test_form_of_a_person_with_a_wrong_token_is_400(browser: Callable[..., Browser]) -> None:
    answer = browser("ada").client.post("/write", data={"title": "T", "body": "B"})

    assert answer.status_code == 400
    assert "CSRF" in answer.text
