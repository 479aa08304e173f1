"""Cookies and tokens that are used again after their session, password or generation has ended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.webapp.people import ApiClient, Browser, assert_api_error
from tests.webapp.test_live_access import revoked
from webapp import accounts, credentials
from webapp.columns import utc_now
from webapp.extensions import bcrypt, db
from webapp.models import User
from webapp.records import LoginSession, RevokedToken

LogIn = Callable[..., Browser]
Obtain = Callable[..., ApiClient]
NEW = "another-password"


def copy_of(app: Flask, person: Browser) -> FlaskClient:
    """Return a client with a copy of a browser's cookie, as a thief has it."""
    cookie = person.client.get_cookie("session")
    assert cookie is not None
    thief = app.test_client()
    thief.set_cookie("session", cookie.value)
    return thief


def is_logged_in(client: FlaskClient) -> bool:
    page = client.get("/").text
    api = client.get("/api/v1/me").status_code
    assert ("Log out" in page) == (api == 200)
    return api == 200


def again(app: Flask, name: str = "ada", password: str = "ada-password") -> Browser:
    """Return another browser of a person who has an account already."""
    other = Browser(app)
    assert other.submit("/login", username=name, password=password).status_code == 302
    return other


def change_password(person: Browser, current: str = "ada-password", new: str = NEW) -> None:
    answer = person.submit("/account", current_password=current, password=new)
    assert (answer.status_code, answer.location) == (302, "/account"), answer.text


def assert_tokens_are_worthless(ada: ApiClient) -> None:
    for method, path, token in (
        ("GET", "/me", ada.access_token),
        ("POST", "/tokens/refresh", ada.refresh_token),
        ("DELETE", "/tokens", ada.refresh_token),
    ):
        headers = {"Authorization": f"Bearer {token}"}
        answer = ada.client.open(f"/api/v1{path}", method=method, headers=headers)
        assert "has been revoked" in assert_api_error(answer, 401)


def test_cookie_is_worthless_after_its_session_logged_out(app: Flask, browser: LogIn) -> None:
    ada = browser("ada")
    thief = copy_of(app, ada)
    assert is_logged_in(thief)

    ada.submit("/logout", form_on="/")

    assert not is_logged_in(thief)
    assert thief.post("/write").location == "/login"


def test_log_out_leaves_the_persons_other_sessions_and_tokens(app: Flask, api: Obtain) -> None:
    ada = api("ada")
    here, there = again(app), again(app)

    here.submit("/logout", form_on="/")

    assert is_logged_in(there.client)
    assert ada.request("GET", "/me").status_code == 200


def test_log_out_takes_the_sessions_record_away(app: Flask, browser: LogIn) -> None:
    ada = browser("ada")
    with app.app_context():
        assert db.session.query(LoginSession).count() == 1

    ada.submit("/logout", form_on="/")

    with app.app_context():
        assert db.session.query(LoginSession).count() == 0


def test_password_change_ends_everything_but_the_session_that_made_it(
    app: Flask, api: Obtain
) -> None:
    ada = api("ada")
    here, there = again(app), again(app)
    before = copy_of(app, here)

    change_password(here)

    assert is_logged_in(here.client)
    assert not is_logged_in(there.client)
    assert not is_logged_in(before), "the cookie from before the change"
    assert_tokens_are_worthless(ada)
    assert revoked(app) == [str(ada.user_id)]
    assert is_logged_in(again(app, password=NEW).client)


def test_password_change_by_the_api_ends_every_session_and_token(app: Flask, api: Obtain) -> None:
    ada = api("ada")
    there = again(app)

    answer = ada.request(
        "PUT", "/me/password", json={"current_password": "ada-password", "password": NEW}
    )

    assert answer.status_code == 204
    assert not is_logged_in(there.client)
    assert_tokens_are_worthless(ada)


@pytest.mark.parametrize(
    ("current", "new", "sentence"),
    [
        ("wrong-password", NEW, "This is not your password."),
        ("", NEW, "Type your current password."),
        ("ada-password", "short", "this one has 5 characters"),
    ],
)
def test_password_change_that_is_refused_ends_nothing(
    app: Flask, browser: LogIn, current: str, new: str, sentence: str
) -> None:
    ada = browser("ada")
    other = again(app)

    answer = ada.submit("/account", current_password=current, password=new)

    assert answer.status_code == 422
    assert sentence in answer.text
    assert is_logged_in(ada.client)
    assert is_logged_in(other.client)


def test_password_change_by_the_api_with_a_wrong_password_is_403(api: Obtain) -> None:
    fields = {"current_password": "wrong", "password": NEW}

    answer = api("ada").request("PUT", "/me/password", json=fields)

    assert "current_password" in assert_api_error(answer, 403)


@pytest.mark.parametrize("by", ["page", "api", "command line", "password command"])
def test_log_out_everywhere_ends_every_session_and_token(app: Flask, api: Obtain, by: str) -> None:
    ada = api("ada")
    here, there = again(app), again(app)
    stranger = api("grace")

    if by == "page":
        answer = here.submit("/account/logout", form_on="/account", follow=True)
        assert "You are logged out everywhere." in answer.text
    elif by == "api":
        assert ada.request("DELETE", "/me/sessions").status_code == 204
    else:
        words = ["logout", "ada"] if by == "command line" else ["password", "ada"]
        result = app.test_cli_runner().invoke(args=["users", *words], input=f"{NEW}\n{NEW}\n")
        assert result.exit_code == 0, result.output

    assert not is_logged_in(here.client)
    assert not is_logged_in(there.client)
    assert_tokens_are_worthless(ada)
    assert revoked(app) == [str(ada.user_id)]
    assert stranger.request("GET", "/me").status_code == 200


def test_password_that_is_changed_while_it_is_checked_lets_nobody_in(
    app: Flask, api: Obtain, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = api("ada")
    check = bcrypt.check_password_hash

    def change_meanwhile(password_hash: str, password: bytes) -> bool:
        monkeypatch.setattr(bcrypt, "check_password_hash", check)
        changed = {"current_password": "ada-password", "password": NEW}
        assert ada.request("PUT", "/me/password", json=changed).status_code == 204
        return bool(check(password_hash, password))

    monkeypatch.setattr(bcrypt, "check_password_hash", change_meanwhile)
    with app.app_context():
        assert accounts.authenticate("ada", "ada-password") is None


def test_tokens_from_before_the_generations_are_refused(app: Flask, api: Obtain) -> None:
    ada = api("ada")
    with app.app_context():
        db.session.query(User).update({"credential_generation": 5})
        db.session.commit()

    assert_tokens_are_worthless(ada)


@pytest.mark.parametrize("path", ["/account", "/account/logout"])
def test_account_pages_are_for_people_with_an_account(app: Flask, path: str) -> None:
    nobody = Browser(app)
    if path == "/account":
        assert nobody.get(path).location == "/login?next=/account"
    answer = nobody.client.post(path, data={"csrf_token": nobody.csrf_token()})

    assert answer.location == "/login"


def test_notes_of_credentials_that_have_ended_are_removed(app: Flask, browser: LogIn) -> None:
    ada = browser("ada")
    with app.app_context():
        past = utc_now() - timedelta(days=1)
        db.session.add_all(RevokedToken(jti=f"old-{n}", expires_at=past) for n in range(3))
        credentials.revoke("new", 1, (utc_now() + timedelta(days=1)).timestamp())
        db.session.commit()

        assert [row.jti for row in db.session.query(RevokedToken)] == ["new"]
    assert is_logged_in(ada.client)
