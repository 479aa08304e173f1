"""JSON Web Tokens: obtained, used, renewed, revoked, and every way in which one is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from flask import Flask, g
from flask.testing import FlaskClient
from flask_jwt_extended import jwt_required
from werkzeug.datastructures import WWWAuthenticate

from tests.webapp.people import SECRET, ApiClient, assert_api_error
from webapp.extensions import db
from webapp.models import ADMIN, USER, User
from webapp.records import RevokedToken

Account = Callable[..., int]
Obtain = Callable[..., ApiClient]


def forged(app: Flask, **changes: object) -> str:
    """Return a token as ours, with some claims changed; `key` changes the key."""
    now = datetime.now(UTC)
    key = changes.pop("key", app.config["JWT_SECRET_KEY"])
    claims = {
        "sub": "1",
        "jti": "some-jti",
        "type": "access",
        "fresh": False,
        "iat": now,
        "nbf": now,
        "exp": now + timedelta(minutes=5),
        "csrf": None,
    } | changes
    return jwt.encode(
        {name: value for name, value in claims.items() if value is not ...}, str(key), "HS256"
    )


def test_token_answer_has_the_fields_of_oauth(client: FlaskClient, account: Account) -> None:
    account("ada")

    answer = client.post("/api/v1/tokens", json={"username": "ADA", "password": "ada-password"})

    assert answer.status_code == 200
    assert set(answer.json) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert answer.json["token_type"] == "Bearer"
    assert answer.json["expires_in"] == 3600


def test_token_has_a_text_subject_and_roles_as_a_claim(app: Flask, api: Obtain) -> None:
    ada = api("ada", ADMIN)

    claims = jwt.decode(ada.access_token, app.config["JWT_SECRET_KEY"], ["HS256"])

    assert claims["sub"] == str(ada.user_id)
    assert claims["roles"] == ["admin", "user"]


def test_token_speaks_for_its_account(api: Obtain) -> None:
    answer = api("ada").request("GET", "/me")

    assert answer.status_code == 200
    assert answer.json["username"] == "ada"
    assert "password_hash" not in answer.json


@pytest.mark.parametrize(("username", "password"), [("ada", "wrong"), ("nobody-here", "x")])
def test_token_with_wrong_credentials_is_401(
    client: FlaskClient, account: Account, username: str, password: str
) -> None:
    account("ada")

    answer = client.post("/api/v1/tokens", json={"username": username, "password": password})

    assert "no such username with this password" in assert_api_error(answer, 401)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_token_for_a_disabled_account_is_403(
    app: Flask, client: FlaskClient, account: Account
) -> None:
    user_id = account("ada")
    with app.app_context():
        db.session.get_one(User, user_id).disabled = True
        db.session.commit()

    answer = client.post("/api/v1/tokens", json={"username": "ada", "password": "ada-password"})

    assert "disabled" in assert_api_error(answer, 403)


def test_request_without_token_is_401(client: FlaskClient) -> None:
    answer = client.get("/api/v1/me")

    assert "Authorization header" in assert_api_error(answer, 401)
    assert answer.headers["WWW-Authenticate"] == "Bearer realm=api"


@pytest.mark.parametrize(
    "changes",
    [
        {"key": SECRET},
        {"key": "another-key-of-a-decent-length-for-hs256"},
        {"sub": ...},
        {"sub": "one"},
        {"sub": "²"},
        {"sub": "999"},
        {"sub": "99999999999999999999999"},
        {"jti": ...},
        {"type": "refresh"},
        {"exp": datetime(2020, 1, 1, tzinfo=UTC)},
        {"nbf": datetime(2100, 1, 1, tzinfo=UTC)},
    ],
    ids=str,
)
def test_token_that_is_not_good_is_401_on_every_route(
    app: Flask, client: FlaskClient, account: Account, changes: dict[str, object]
) -> None:
    account("ada")
    headers = {"Authorization": f"Bearer {forged(app, **changes)}"}

    for path in ("/api/v1/me", "/api/v1/posts"):
        answer = client.get(path, headers=headers)
        assert_api_error(answer, 401)
        challenge = WWWAuthenticate.from_header(answer.headers["WWW-Authenticate"])
        assert challenge is not None
        assert challenge.parameters == {"realm": "api", "error": "invalid_token"}


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer a b",
        "Bearer x.y.z",
        "Bearer \xe9.\xe9.\xe9",
        "Bearer ....",
        "Bearer null",
        ", ,",
    ],
)
def test_token_that_is_rubbish_is_401(client: FlaskClient, header: str) -> None:
    assert_api_error(client.get("/api/v1/me", headers={"Authorization": header}), 401)


@pytest.mark.parametrize("header", ["Basic YTpi", "Digest x", "bearer-ish", ""])
def test_authorization_of_another_kind_is_nobody(client: FlaskClient, header: str) -> None:
    headers = {"Authorization": header}

    assert client.get("/api/v1/posts", headers=headers).status_code == 200
    assert_api_error(client.get("/api/v1/me", headers=headers), 401)


def test_token_of_an_account_disabled_later_is_401(app: Flask, api: Obtain) -> None:
    ada = api("ada")
    with app.app_context():
        db.session.query(User).update({"disabled": True})
        db.session.commit()

    assert "gone or disabled" in assert_api_error(ada.request("GET", "/me"), 401)


def test_token_gives_no_more_than_the_account_has_now(app: Flask, api: Obtain) -> None:
    ada = api("ada", ADMIN)
    assert ada.request("GET", "/admin/users").status_code == 200
    with app.app_context():
        db.session.query(User).update({"role": USER})
        db.session.commit()

    assert_api_error(ada.request("GET", "/admin/users"), 403)


def test_token_in_the_query_counts_for_live_paths_only(app: Flask, api: Obtain) -> None:
    ada = api("ada")
    seen: list[str | None] = []
    for path in ("/live/events", "/api/v1/posts"):
        with app.test_request_context(f"{path}?access_token={ada.access_token}"):
            app.preprocess_request()
            seen.append(g.user and g.user.username)

    assert seen == ["ada", None]


def test_refresh_gives_another_access_token_with_the_roles_of_now(app: Flask, api: Obtain) -> None:
    ada = api("ada")
    with app.app_context():
        db.session.query(User).update({"role": ADMIN})
        db.session.commit()

    answer = ada.client.post(
        "/api/v1/tokens/refresh", headers={"Authorization": f"Bearer {ada.refresh_token}"}
    )

    assert answer.status_code == 200
    assert "refresh_token" not in answer.json
    ada.access_token = answer.json["access_token"]
    assert ada.request("GET", "/admin/users").status_code == 200


def test_refresh_with_an_access_token_is_401(api: Obtain) -> None:
    assert_api_error(api("ada").request("POST", "/tokens/refresh"), 401)


def test_refresh_without_a_token_is_401(client: FlaskClient) -> None:
    assert_api_error(client.post("/api/v1/tokens/refresh"), 401)


def test_refresh_token_is_no_access_token(api: Obtain) -> None:
    ada = api("ada")
    ada.access_token = ada.refresh_token

    assert_api_error(ada.request("GET", "/me"), 401)


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_revoked_token_is_401_and_the_other_stays(api: Obtain, kind: str) -> None:
    ada = api("ada")
    headers = {"Authorization": f"Bearer {getattr(ada, kind)}"}

    assert ada.request("DELETE", "/tokens", headers=headers).status_code == 204

    refresh = {"Authorization": f"Bearer {ada.refresh_token}"}
    access_code = ada.request("GET", "/me").status_code
    refresh_code = ada.request("POST", "/tokens/refresh", headers=refresh).status_code
    expected = (401, 200) if kind == "access_token" else (200, 401)
    assert (access_code, refresh_code) == expected
    assert_api_error(ada.request("DELETE", "/tokens", headers=headers), 401)


def test_revoking_forgets_tokens_that_have_expired(app: Flask, api: Obtain) -> None:
    ada = api("ada")
    with app.app_context():
        past = datetime.now(UTC) - timedelta(days=1)
        db.session.add(RevokedToken(jti="old", expires_at=past))
        db.session.commit()

    ada.request("DELETE", "/tokens")

    with app.app_context():
        assert [token.jti for token in db.session.query(RevokedToken)] != ["old"]
        assert db.session.query(RevokedToken).count() == 1


def test_revoking_without_a_token_is_401(client: FlaskClient) -> None:
    assert_api_error(client.delete("/api/v1/tokens"), 401)


def test_jwt_required_answers_in_the_same_shape(app: Flask, api: Obtain) -> None:
    @app.get("/api/v1/guarded")
    @jwt_required(fresh=True)
    def guarded() -> str:
        return "in"

    ada = api("ada")

    assert_api_error(ada.client.get("/api/v1/guarded"), 401)
    assert_api_error(ada.request("GET", "/guarded"), 401)
    ada.access_token = "rubbish"
    assert_api_error(ada.request("GET", "/guarded"), 401)
    ada.access_token = forged(app, exp=datetime(2020, 1, 1, tzinfo=UTC))
    assert "expired" in assert_api_error(ada.request("GET", "/guarded"), 401)
