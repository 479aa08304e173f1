"""Which other origins may read the API: by configuration, and by a decorator on one route."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from flasknado.live.origins import CORS_KEY
from tests.webapp.people import make_app
from webapp.cors import allowed_origin

FRIEND = "https://friend.example"
STRANGER = "https://stranger.example"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type, x-other",
}


@pytest.fixture
def with_origins(database_file: Path) -> Callable[[str], Flask]:
    """Return a function that makes an application with these CORS_ORIGINS."""
    return lambda origins: make_app(database_file, cors_origins=origins)


def test_cors_without_origins_allows_none(app: Flask) -> None:
    answer = app.test_client().get("/api/v1/posts", headers={"Origin": FRIEND})

    assert answer.status_code == 200
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_cors_allows_the_listed_origins_only(with_origins: Callable[[str], Flask]) -> None:
    client = with_origins(f"{FRIEND},http://localhost:3000").test_client()

    allowed = client.get("/api/v1/posts", headers={"Origin": FRIEND}).headers
    refused = client.get("/api/v1/posts", headers={"Origin": STRANGER}).headers

    assert allowed["Access-Control-Allow-Origin"] == FRIEND
    assert "Origin" in allowed["Vary"]
    assert "X-Request-ID" in allowed["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in allowed
    assert "Access-Control-Allow-Origin" not in refused


def test_cors_answers_the_preflight(with_origins: Callable[[str], Flask]) -> None:
    client = with_origins(FRIEND).test_client()

    answer = client.options("/api/v1/posts", headers={"Origin": FRIEND} | PREFLIGHT)

    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == FRIEND
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization, content-type"
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Max-Age"] == "600"
    refused = client.options("/api/v1/posts", headers={"Origin": STRANGER} | PREFLIGHT)
    assert "Access-Control-Allow-Origin" not in refused.headers


def test_cors_covers_errors_too(with_origins: Callable[[str], Flask]) -> None:
    client = with_origins(FRIEND).test_client()

    for path, code in (("/api/v1/me", 401), ("/api/v1/nothing", 404)):
        answer = client.get(path, headers={"Origin": FRIEND})
        assert answer.status_code == code
        assert answer.headers["Access-Control-Allow-Origin"] == FRIEND


def test_cors_covers_the_api_only(with_origins: Callable[[str], Flask]) -> None:
    answer = with_origins("*").test_client().get("/", headers={"Origin": FRIEND})

    assert "Access-Control-Allow-Origin" not in answer.headers


def test_cors_of_every_origin(with_origins: Callable[[str], Flask]) -> None:
    answer = with_origins("*").test_client().get("/api/v1/posts", headers={"Origin": STRANGER})

    assert answer.headers["Access-Control-Allow-Origin"] in ("*", STRANGER)


@pytest.mark.parametrize("origins", ["", FRIEND])
def test_cors_decorator_opens_its_one_route_to_everybody(
    with_origins: Callable[[str], Flask], origins: str
) -> None:
    client = with_origins(origins).test_client()

    answer = client.get("/api/v1/site", headers={"Origin": STRANGER})
    preflight = client.options(
        "/api/v1/site", headers={"Origin": STRANGER, "Access-Control-Request-Method": "GET"}
    )

    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert preflight.headers["Access-Control-Allow-Methods"] == "GET"


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ("", FRIEND, False),
        (FRIEND, FRIEND, True),
        (FRIEND, FRIEND.upper(), True),
        (FRIEND, STRANGER, False),
        (FRIEND, f"{FRIEND}.evil.example", False),
        (FRIEND, "null", False),
        ("*", STRANGER, True),
    ],
)
def test_cors_policy_is_the_same_for_native_handlers(
    with_origins: Callable[[str], Flask], origins: str, origin: str, allowed: bool
) -> None:
    app = with_origins(origins)

    assert app.extensions[CORS_KEY].allows(origin) is allowed
    with app.app_context():
        assert allowed_origin(origin) == (origin if allowed else None)
    answer = app.test_client().get("/api/v1/posts", headers={"Origin": origin})
    assert ("Access-Control-Allow-Origin" in answer.headers) is allowed
