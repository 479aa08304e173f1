"""Bodies: small by default, a post's size where a post is sent, 413 in the right shape above."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder, TestResponse

from tests.webapp.people import ApiClient, Browser, assert_api_error, make_app
from webapp.body_limits import FORM_BYTES, POST_BYTES, max_body_bytes
from webapp.extensions import csrf
from webapp.models import POST_CHARACTERS, TITLE_CHARACTERS

LogIn = Callable[..., Browser]
Obtain = Callable[..., ApiClient]
FORM = "application/x-www-form-urlencoded"
MEBIBYTE = 1024 * 1024


def send(client: FlaskClient, path: str, body: bytes, content_type: str) -> TestResponse:
    """Post a body of unknown length, as a chunked one is under other servers."""
    builder = EnvironBuilder(path=path, method="POST", content_type=content_type)
    environ = builder.get_environ() | {
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
    }
    environ.pop("CONTENT_LENGTH", None)
    return client.open(environ)


@pytest.mark.parametrize("path", ["/login", "/register", "/logout", "/write", "/post/1/comments"])
def test_anonymous_form_of_16_mib_is_413_and_costs_nothing(client: FlaskClient, path: str) -> None:
    body = b"%" * (16 * MEBIBYTE)
    client.get("/login")
    tracemalloc.start()
    try:
        answer = client.post(path, data=body, content_type=FORM)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert answer.status_code == 413
    assert answer.mimetype == "text/html"
    assert f"at most {FORM_BYTES} bytes" in answer.text
    assert peak_bytes < MEBIBYTE


@pytest.mark.parametrize("path", ["/tokens", "/users", "/posts", "/posts/1/comments"])
def test_anonymous_json_of_one_mib_is_413_in_the_apis_shape(client: FlaskClient, path: str) -> None:
    answer = client.post(f"/api/v1{path}", data=b" " * MEBIBYTE, content_type="application/json")

    # Where an account is needed, that is said first, and the body is not read.
    if answer.status_code == 401:
        assert path.startswith("/posts")
    else:
        assert f"at most {FORM_BYTES} bytes" in assert_api_error(answer, 413)


@pytest.mark.parametrize("character", ["\N{PILE OF POO}", "é", "%", "\n", "x"])
def test_longest_post_fits_whatever_its_characters(browser: LogIn, character: str) -> None:
    person = browser("ada")
    title, body = "t" * TITLE_CHARACTERS, "x" + character * (POST_CHARACTERS - 2) + "x"

    answer = person.submit("/write", title=title, body=body.replace("\n", "\r\n"))

    assert (answer.status_code, answer.location) == (302, "/post/1")


def test_longest_post_fits_as_json(api: Obtain) -> None:
    body = "\N{PILE OF POO}" * POST_CHARACTERS

    assert api().post("t" * TITLE_CHARACTERS, body) == 1


def test_post_above_the_limit_is_413_by_form_and_json(browser: LogIn, api: Obtain) -> None:
    person = browser("ada")
    data = {"csrf_token": person.csrf_token("/write"), "body": "x" * POST_BYTES}

    page = person.client.post("/write", data=data)
    json = api("grace").request("POST", "/posts", json={"body": "x" * POST_BYTES})

    assert page.status_code == 413
    assert f"at most {POST_BYTES} bytes" in page.text
    assert f"at most {POST_BYTES} bytes" in assert_api_error(json, 413)


def test_servers_own_limit_holds_where_it_is_smaller(database_file: Path) -> None:
    app = make_app(database_file, overrides={"MAX_CONTENT_LENGTH": 100})

    answer = app.test_client().post("/login", data={"username": "x" * 100})

    assert answer.status_code == 413
    assert "at most 100 bytes" in answer.text


@pytest.mark.parametrize(("size_bytes", "code"), [(FORM_BYTES, 200), (FORM_BYTES + 1, 413)])
def test_body_of_unknown_length_is_taken_whole_or_not_at_all(
    app: Flask, client: FlaskClient, size_bytes: int, code: int
) -> None:
    @app.post("/api/v1/size")
    @csrf.exempt
    def size() -> str:
        return str(len(request.get_data()))

    @app.post("/api/v1/form")
    @csrf.exempt
    def form() -> str:
        return str(len(request.form["a"]) + 2)

    for path, content_type in (("size", "text/plain"), ("form", FORM)):
        answer = send(client, f"/api/v1/{path}", b"a=" + b"x" * (size_bytes - 2), content_type)
        assert answer.status_code == code
        if code == 200:
            assert answer.text == str(size_bytes)


def test_percent_encoded_form_stays_small_where_files_go(app: Flask, browser: LogIn) -> None:
    @app.post("/upload")
    @max_body_bytes(8 * MEBIBYTE)
    def upload() -> str:
        return str(sum(len(file.read()) for file in request.files.values()))

    person = browser("ada")
    data = {"csrf_token": person.csrf_token("/write")}
    file = (io.BytesIO(b"x" * 400_000), "file.bin")

    assert person.client.post("/upload", data=data | {"f": file}).text == "400000"
    assert person.client.post("/upload", data=data | {"f": "%" * 150_000}).status_code == 413
    assert Browser(app).client.post("/upload", data={"f": "x" * 100_000}).status_code == 413


def test_form_of_many_parts_is_413(browser: LogIn) -> None:
    person = browser("ada")
    data = {f"field{number}": "x" for number in range(200)}

    answer = person.client.post("/write", data=data, content_type="multipart/form-data")

    assert answer.status_code == 413
