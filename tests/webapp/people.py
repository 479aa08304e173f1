"""People and programs that use the application in tests."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from config import Settings
from webapp import create_app

SECRET = "J2x4vTq9Zr0LmWcYdKfHbNsPgEuAiOoX7631-_ty"
CHEAP_HASHES = {"BCRYPT_LOG_ROUNDS": 4, "PASSWORD_THREADS": 4, "PASSWORD_QUEUE": 16}
ON_POSTGRESQL = os.environ.get("WEBAPP_DATABASE") == "postgresql"
about_sqlite = pytest.mark.skipif(ON_POSTGRESQL, reason="it is about SQLite")
needs_offsets = pytest.mark.skipif(
    ON_POSTGRESQL, reason="events get their offsets from a server's sequencer there"
)
IN_PLACE_OF: dict[Path, str] = {}
"""The URLs of other databases that stand for files (`conftest.py`)."""
MADE_ON_OTHERS: list[Flask] = []
"""The applications on those, whose connections have to be closed."""
_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


def make_app(database: Path, *, overrides: dict[str, Any] | None = None, **settings: Any) -> Flask:
    """Return an application on a SQLite file, or what stands for it, with cheap password hashes."""
    values = {
        "secret_key": SECRET,
        "database_url": IN_PLACE_OF.get(database, f"sqlite:///{database}"),
        "upload_dir": database.parent / "uploads",
    } | settings
    app = create_app(Settings(**values), overrides=CHEAP_HASHES | (overrides or {}))
    if database in IN_PLACE_OF:
        MADE_ON_OTHERS.append(app)
    return app


class Browser:
    """A browser with one cookie jar, which sends forms as the pages give them."""

    def __init__(self, app: Flask) -> None:
        self.client = app.test_client()

    def get(self, path: str, **options: Any) -> TestResponse:
        """Open a page."""
        return self.client.get(path, **options)

    def csrf_token(self, path: str = "/login") -> str:
        """Return the token in the first form of a page."""
        found = _TOKEN.search(self.client.get(path).text)
        assert found is not None, f"{path} has no form"
        return found[1]

    def submit(
        self, action: str, form_on: str | None = None, *, follow: bool = False, **fields: str
    ) -> TestResponse:
        """Open the page with the form, fill in the fields and send it to `action`."""
        token = self.csrf_token(form_on or action)
        return self.client.post(
            action, data={"csrf_token": token, **fields}, follow_redirects=follow
        )


class ApiClient:
    """A program with an account: it sends JSON and its access token."""

    def __init__(self, app: Flask, username: str, user_id: int) -> None:
        self.client = app.test_client()
        self.user_id = user_id
        credentials = {"username": username, "password": f"{username}-password"}
        answer = self.client.post("/api/v1/tokens", json=credentials)
        assert answer.status_code == 200, answer.text
        self.access_token = answer.json["access_token"]
        self.refresh_token = answer.json["refresh_token"]

    def request(self, method: str, path: str, **options: Any) -> TestResponse:
        """Send a request with the access token to a path below /api/v1."""
        headers = {"Authorization": f"Bearer {self.access_token}"} | options.pop("headers", {})
        return self.client.open(f"/api/v1{path}", method=method, headers=headers, **options)

    def post(self, title: str = "A title", body: str = "A body.") -> int:
        """Write a post and return its id."""
        answer = self.request("POST", "/posts", json={"title": title, "body": body})
        assert answer.status_code == 201, answer.text
        return int(answer.json["id"])


def assert_api_error(answer: TestResponse, code: int) -> str:
    """Check that an answer has the API's error shape, and return its message."""
    assert answer.status_code == code, answer.text
    assert answer.content_type == "application/json"
    assert set(answer.json) == {"message", "success", "code", "request_id"}
    assert answer.json["success"] is False
    assert answer.json["code"] == code
    assert answer.json["request_id"] == answer.headers["X-Request-ID"]
    message: str = answer.json["message"]
    assert message
    return message
