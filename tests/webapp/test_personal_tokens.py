"""API tokens: made once, good until they are deleted, worth no more than their account."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flask import Flask

from tests.webapp.people import ApiClient, Browser, assert_api_error
from tests.webapp.test_live_access import identity_of, revoked
from webapp import api_tokens
from webapp.columns import utc_now
from webapp.extensions import db
from webapp.models import ADMIN
from webapp.records import ApiToken

LogIn = Callable[..., Browser]
Obtain = Callable[..., ApiClient]


def make(ada: ApiClient, name: str = "backup") -> dict[str, Any]:
    answer = ada.request("POST", "/me/tokens", json={"name": name})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json
    return made


def with_token(ada: ApiClient, token: str, method: str, path: str, **options: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    return ada.client.open(f"/api/v1{path}", method=method, headers=headers, **options)


def test_token_of_the_page_is_shown_once_and_works(app: Flask, browser: LogIn) -> None:
    person = browser("ada")

    shown = person.submit("/account/tokens", name="  my \n script ").text
    (token,) = re.findall(r'<code class="token">(\w+[\w-]+)</code>', shown)

    page = person.get("/account/tokens").text
    assert "my script" in page
    assert token not in page
    answer = app.test_client().get("/api/v1/me", headers={"Authorization": f"Bearer {token}"})
    assert answer.json["username"] == "ada"
    with app.app_context():
        assert token not in db.session.query(ApiToken).one().digest


def test_token_reads_live_events_until_it_expires(app: Flask, api: Obtain) -> None:
    made = make(api("ada"))

    who = identity_of(app, {"Authorization": f"Bearer {made['token']}"})

    assert who.user == "1"
    lifetime = who.expires_at - utc_now().timestamp()
    assert abs(lifetime - api_tokens.LIFETIME.total_seconds()) < 60


def test_token_that_is_deleted_is_401_and_ends_live_connections(app: Flask, api: Obtain) -> None:
    ada = api("ada")
    made = make(ada)
    assert with_token(ada, made["token"], "GET", "/me").status_code == 200

    assert ada.request("DELETE", f"/me/tokens/{made['id']}").status_code == 204

    refused = with_token(ada, made["token"], "GET", "/me")
    assert "deleted" in assert_api_error(refused, 401)
    assert "invalid_token" in refused.headers["WWW-Authenticate"]
    assert ada.request("GET", "/me/tokens").json == {"tokens": []}
    assert revoked(app) == ["1"]


def test_token_that_has_expired_or_of_a_disabled_account_is_401(app: Flask, api: Obtain) -> None:
    ada, boss = api("ada"), api("boss", ADMIN)
    token = make(ada)["token"]

    boss.request("PATCH", f"/admin/users/{ada.user_id}", json={"disabled": True})
    assert_api_error(with_token(ada, token, "GET", "/me"), 401)
    boss.request("PATCH", f"/admin/users/{ada.user_id}", json={"disabled": False})
    assert with_token(ada, token, "GET", "/me").status_code == 200
    with app.app_context():
        db.session.query(ApiToken).update({"expires_at": utc_now() - timedelta(seconds=1)})
        db.session.commit()
    assert_api_error(with_token(ada, token, "GET", "/me"), 401)


def test_tokens_end_with_the_password_and_by_logging_out_everywhere(api: Obtain) -> None:
    for path, method, body in (
        ("/me/password", "PUT", {"current_password": "ada-password", "password": "another-one"}),
        ("/me/sessions", "DELETE", None),
    ):
        name = "ada" if method == "PUT" else "grace"
        person = api(name)
        token = make(person)["token"]
        assert person.request(method, path, json=body).status_code == 204
        assert_api_error(with_token(person, token, "GET", "/me"), 401)


def test_token_cannot_make_others(api: Obtain) -> None:
    ada = api("ada")

    answer = with_token(ada, make(ada)["token"], "POST", "/me/tokens", json={"name": "more"})

    assert "cannot make others" in assert_api_error(answer, 403)


def test_tokens_of_an_account_are_few(api: Obtain) -> None:
    ada = api("ada")
    for _ in range(api_tokens.MAX_TOKENS):
        make(ada)

    answer = ada.request("POST", "/me/tokens", json={"name": "one more"})

    assert "at most 20 tokens" in assert_api_error(answer, 409)


def test_token_of_somebody_else_is_404(api: Obtain, browser: LogIn) -> None:
    made = make(api("ada"))

    assert_api_error(api("grace").request("DELETE", f"/me/tokens/{made['id']}"), 404)
    path = f"/account/tokens/{made['id']}/delete"
    assert browser("linus").submit(path, form_on="/account/tokens").status_code == 404
