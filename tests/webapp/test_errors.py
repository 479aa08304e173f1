"""Error pages, for people."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask, abort
from flask.testing import FlaskClient

from tests.webapp.people import Browser
from webapp.extensions import db

LogIn = Callable[..., Browser]


@pytest.mark.parametrize("code", [400, 403, 404, 405, 409, 413, 415, 422, 429, 500, 503])
def test_error_page_names_the_code_and_the_request(
    app: Flask, client: FlaskClient, code: int
) -> None:
    app.add_url_rule("/x/fail", "fail", lambda: abort(code))

    answer = client.get("/x/fail")

    assert answer.status_code == code
    assert answer.mimetype == "text/html"
    assert re.search(rf"{code} · request {answer.headers['X-Request-ID']}", answer.text)
    assert "To the timeline" in answer.text


def test_error_page_escapes_what_was_asked_for(client: FlaskClient) -> None:
    answer = client.get("/user/<script>alert(1)</script>")

    assert answer.status_code == 404
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;alert" in answer.text


def test_error_page_shows_no_traceback_and_asks_no_database(
    app: Flask, browser: LogIn, caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/x/broken")
    def broken() -> str:
        db.session.remove()
        db.engine.dispose()
        raise RuntimeError("the secret reason")

    answer = browser("ada").get("/x/broken")

    assert answer.status_code == 500
    assert "Something went wrong here" in answer.text
    assert "secret reason" not in answer.text
    assert "RuntimeError" not in answer.text
    assert "Log out" not in answer.text
    assert answer.headers["X-Request-ID"] in caplog.text


def test_error_page_of_a_too_large_form_says_how_much_is_taken(app: Flask, browser: LogIn) -> None:
    person = browser("ada")
    token = person.csrf_token("/write")
    app.config["MAX_CONTENT_LENGTH"] = 500

    answer = person.client.post("/write", data={"csrf_token": token, "body": "x" * 1000})

    assert answer.status_code == 413
    assert "at most 500 bytes" in answer.text


def test_error_of_the_router_keeps_its_redirect(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/x/folder/", "folder", lambda: "")

    answer = client.get("/x/folder")

    assert answer.status_code == 308
    assert answer.location.endswith("/x/folder/")
