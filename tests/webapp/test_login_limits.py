"""Wrong passwords are limited by address, account and both; nobody is locked out by strangers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.exceptions import TooManyRequests
from werkzeug.test import TestResponse

from tests.webapp.people import ApiClient, Browser, assert_api_error, make_app
from webapp import accounts
from webapp.addresses import address
from webapp.extensions import db
from webapp.native_hooks import say

STRANGER, HOME = "203.0.113.9", "198.51.100.7"
Account = Callable[..., int]


@pytest.fixture(scope="module")
def limits() -> dict[str, str]:
    """Return limits of which each is met at another number."""
    return {
        "login_limit_per_address": "6 per 10 minutes",
        "login_limit_per_account_and_address": "3 per 10 minutes",
        "login_limit_per_account": "8 per hour",
        "register_limit_per_address": "2 per hour",
    }


@pytest.fixture
def app(database_file: Path, limits: dict[str, str]) -> Iterator[Flask]:
    app = make_app(database_file, **limits)
    yield app
    with app.app_context():
        db.engine.dispose()


def obtain(
    app: Flask, username: str = "ada", password: str = "wrong", from_: str = STRANGER
) -> TestResponse:
    """Ask for a token."""
    return app.test_client().post(
        "/api/v1/tokens",
        json={"username": username, "password": password},
        environ_base={"REMOTE_ADDR": from_},
    )


def assert_limited(answer: TestResponse, most_s: int) -> None:
    message = assert_api_error(answer, 429)
    assert message.startswith("Too many wrong passwords")
    assert 0 < int(answer.headers["Retry-After"]) <= most_s


def test_guesses_at_one_account_from_one_address_are_limited(app: Flask, account: Account) -> None:
    account("ada")

    assert [obtain(app).status_code for _ in range(5)] == [401, 401, 401, 429, 429]

    assert_limited(obtain(app, password="ada-password"), 600)
    assert obtain(app, " ADA ").status_code == 429, "the name in another form"
    assert obtain(app, "grace").status_code == 401, "another account"
    assert obtain(app, password="ada-password", from_=HOME).status_code == 200


def test_guesses_at_many_accounts_from_one_address_are_limited(app: Flask) -> None:
    codes = [obtain(app, f"name-{n}").status_code for n in range(8)]

    assert codes == [401] * 6 + [429] * 2
    assert obtain(app, "name-9", from_=HOME).status_code == 401


def test_guesses_at_names_that_nobody_can_have_are_limited_by_address(app: Flask) -> None:
    names = ["no/such", "x" * 5_000, "", "\ud800", "a b", "é", "none", "more"]

    assert [obtain(app, name).status_code for name in names] == [401] * 6 + [429] * 2


def test_guesses_at_one_account_from_many_addresses_are_limited(
    app: Flask, account: Account
) -> None:
    account("ada")

    codes = [obtain(app, from_=f"192.0.2.{n}").status_code for n in range(10)]

    assert codes == [401] * 8 + [429] * 2
    assert_limited(obtain(app, from_=HOME), 3600)


def test_person_is_not_locked_out_of_a_known_address_by_strangers(
    app: Flask, account: Account
) -> None:
    account("ada")
    assert obtain(app, password="ada-password", from_=HOME).status_code == 200
    for n in range(10):
        obtain(app, from_=f"192.0.2.{n}")
    assert obtain(app, password="ada-password", from_=STRANGER).status_code == 429

    assert obtain(app, password="ada-password", from_=HOME).status_code == 200
    # What is tried from there has the narrower limit.
    assert [obtain(app, from_=HOME).status_code for _ in range(4)] == [401] * 3 + [429]


def test_right_passwords_are_not_counted(app: Flask, account: Account) -> None:
    account("ada")

    assert {obtain(app, password="ada-password").status_code for _ in range(20)} == {200}


def test_limit_is_over_when_its_time_is(
    app: Flask, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    account("ada")
    for _ in range(4):
        answer = obtain(app)
    wait_s = int(answer.headers["Retry-After"])
    now = __import__("time").time()
    monkeypatch.setattr("webapp.limit_storage.time.time", lambda: now + wait_s + 1)

    assert obtain(app, password="ada-password").status_code == 200


def test_limits_hold_over_several_workers(
    app: Flask, account: Account, database_file: Path, limits: dict[str, str]
) -> None:
    account("ada")
    other_worker = make_app(database_file, **limits)

    codes = [obtain(worker).status_code for worker in (app, other_worker) * 3]

    assert codes == [401] * 3 + [429] * 3


def test_form_shows_how_long_to_wait_and_keeps_the_name(app: Flask, account: Account) -> None:
    account("ada")
    person = Browser(app)
    for _ in range(3):
        answer = person.submit("/login", username="ada", password="wrong")
        assert answer.status_code == 422

    answer = person.submit("/login", username="ada", password="ada-password")

    assert answer.status_code == 429
    assert answer.mimetype == "text/html"
    assert "Too many wrong passwords for this account: try again in 10 minutes." in answer.text
    assert 'value="ada"' in answer.text
    assert 0 < int(answer.headers["Retry-After"]) <= 600
    assert answer.headers["X-Request-ID"]
    assert person.get("/login").status_code == 200, "the form itself is not limited"


def test_forms_and_tokens_count_together(app: Flask, account: Account) -> None:
    account("ada")
    person = Browser(app)
    for _ in range(3):
        person.submit("/login", username="ada", password="wrong")

    assert obtain(app, from_="127.0.0.1").status_code == 429


def test_empty_forms_and_rubbish_are_not_counted(app: Flask, client: FlaskClient) -> None:
    person = Browser(app)
    for _ in range(10):
        assert person.submit("/login", username="ada", password="").status_code == 422
    for body in (b"", b"{", b"[" * 50_000, b"[]", b'{"username": 1, "password": "x"}') * 2:
        answer = client.post("/api/v1/tokens", data=body, content_type="application/json")
        assert answer.status_code in (400, 422)

    assert person.submit("/login", username="ada", password="wrong").status_code == 422
    assert obtain(app, from_="127.0.0.1").status_code == 401


def test_password_change_is_limited_by_the_account_that_is_logged_in(
    app: Flask, account: Account
) -> None:
    account("ada")
    person = Browser(app)
    person.submit("/login", username="ada", password="ada-password")
    codes = []
    for n in range(4):
        fields = {"current_password": "wrong", "password": "another-one", "username": f"name-{n}"}
        answer = person.submit("/account", **fields)
        codes.append(answer.status_code)

    assert codes == [422] * 3 + [429]
    assert "Too many wrong passwords for this account" in answer.text


def test_log_in_as_somebody_is_limited_by_the_name_that_is_typed(
    app: Flask, account: Account
) -> None:
    account("ada")
    account("mallory")
    mallory = Browser(app)
    mallory.submit("/login", username="mallory", password="mallory-password")

    codes = [
        mallory.client.post(
            "/login",
            data={
                "csrf_token": mallory.csrf_token("/account"),
                "username": "ada",
                "password": "wrong",
            },
        ).status_code
        for _ in range(4)
    ]

    assert codes == [422] * 3 + [429]


def test_accounts_made_from_one_address_are_limited(app: Flask) -> None:
    client = app.test_client()
    answers = [
        client.post("/api/v1/users", json={"username": name, "password": "a-password"})
        for name in ("ada", "grace", "linus")
    ]
    # Each address of a network of IPv6 is one customer's.
    of_a_network = [
        client.post(
            "/api/v1/users",
            json={"username": name, "password": "a-password"},
            environ_base={"REMOTE_ADDR": f"2001:db8:1:2::{number}"},
        ).status_code
        for number, name in enumerate(("ann", "bob", "cleo"), 1)
    ]
    assert of_a_network == [201, 201, 429]
    form = Browser(app).submit("/register", username="linus", password="a-password")

    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert "Too many accounts were made" in assert_api_error(answers[2], 429)
    assert form.status_code == 429
    assert "Too many accounts were made from your address" in form.text


def test_limits_that_are_off_do_not_hold(database_file: Path, limits: dict[str, str]) -> None:
    app = make_app(database_file, **dict.fromkeys(limits, "off"))

    assert {obtain(app).status_code for _ in range(12)} == {401}


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("", "local"),
        ("unix:", "local"),
    ],
)
def test_address_of_ipv6_is_its_network(app: Flask, remote: str, shown: str) -> None:
    with app.test_request_context(environ_base={"REMOTE_ADDR": remote}):
        assert address() == shown


def test_guesses_at_the_same_moment_exceed_a_limit_by_the_threads_at_most(
    database_file: Path, limits: dict[str, str]
) -> None:
    overrides = {"BCRYPT_LOG_ROUNDS": 4, "PASSWORD_THREADS": 1, "PASSWORD_QUEUE": 1}
    app = make_app(database_file, overrides=overrides, **limits)
    with app.app_context():
        accounts.register("ada", "ada-password")
    codes: list[int] = []

    def guess() -> None:
        codes.extend(obtain(app).status_code for _ in range(8))

    threads = [threading.Thread(target=guess) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(codes) == 48
    assert set(codes) <= {401, 429, 503}
    assert 3 <= codes.count(401) < 3 + len(threads)
    assert obtain(app).status_code == 429


# --- Changes: through the API, forms and chat alike ---------------------------------------------


def test_changes_through_the_api_are_limited_by_account_with_headers(
    database_file: Path,
) -> None:
    app = make_app(database_file, api_write_limit="2 per minute")
    with app.app_context():
        accounts.register("ada", "ada-password")
        accounts.register("grace", "grace-password")
    ada, grace = ApiClient(app, "ada", 1), ApiClient(app, "grace", 2)

    first, second, third = (
        ada.request("POST", "/posts", json={"title": "T", "body": "B"}) for _ in range(3)
    )

    assert (first.status_code, second.status_code) == (201, 201)
    assert (first.headers["X-RateLimit-Limit"], first.headers["X-RateLimit-Remaining"]) == (
        "2",
        "1",
    )
    message = assert_api_error(third, 429)
    assert "Too many changes: try again in" in message
    assert 0 < int(third.headers["Retry-After"]) <= 60
    assert third.headers["X-RateLimit-Remaining"] == "0"
    assert ada.request("GET", "/posts").status_code == 200
    assert grace.request("POST", "/posts", json={"title": "T", "body": "B"}).status_code == 201
    # The same limit holds for forms and for the chat: nobody goes round it by either.
    browser = Browser(app)
    browser.submit("/login", username="ada", password="ada-password")
    form = browser.submit("/write", title="T", body="B")
    assert (form.status_code, "Too many changes" in form.text) == (429, True)
    assert 0 < int(form.headers["Retry-After"]) <= 60
    bearer = {"Authorization": f"Bearer {ada.access_token}"}
    with app.test_request_context("/live/chat", headers=bearer):
        app.preprocess_request()
        with pytest.raises(TooManyRequests, match="Too many messages"):
            say("hello")
    with app.app_context():
        db.engine.dispose()
