"""What is compressed: text for everybody; never what was made for one person, nor a stream."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator

import brotli
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.webapp.people import ApiClient, Browser

LogIn = Callable[..., Browser]
Obtain = Callable[..., ApiClient]

CODINGS = {"Accept-Encoding": "gzip, br, zstd"}


@pytest.mark.parametrize("path", ["/", "/post/1", "/api/v1/posts", "/search?q=text", "/nothing"])
def test_text_for_everybody_is_compressed(client: FlaskClient, api: Obtain, path: str) -> None:
    api("ada").post("T", "A long text. " * 100)
    plain = client.get(path)

    answer = client.get(path, headers={"Accept-Encoding": "gzip"})

    if plain.status_code == 200:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(answer.data) == plain.data
        assert len(answer.data) < len(plain.data) / 2
    else:
        assert "Content-Encoding" not in answer.headers
    assert "Accept-Encoding" in answer.headers["Vary"]
    assert "Content-Encoding" not in plain.headers


def test_best_coding_of_those_that_are_accepted_is_taken(client: FlaskClient) -> None:
    for accepted, taken in (
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, br", "br"),
        ("gzip;q=1, br;q=0.5", "gzip"),
        ("br;q=0", None),
        ("identity", None),
    ):
        answer = client.get("/", headers={"Accept-Encoding": accepted})
        assert answer.headers.get("Content-Encoding") == taken
    assert brotli.decompress(client.get("/", headers={"Accept-Encoding": "br"}).data).startswith(
        b"<!doctype html>"
    )


@pytest.mark.parametrize("path", ["/", "/write", "/account", "/api/v1/me", "/search?q=text"])
def test_page_of_a_person_is_not_compressed(browser: LogIn, path: str) -> None:
    answer = browser("ada").get(path, headers=CODINGS)

    assert answer.status_code == 200
    assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize("path", ["/login", "/register?next=/reflected"])
def test_page_with_a_token_is_not_compressed(client: FlaskClient, path: str) -> None:
    first, second = (client.get(path, headers=CODINGS) for _ in range(2))

    for answer in (first, second):
        assert "csrf_token" in answer.text
        assert "Content-Encoding" not in answer.headers
    # Nor what is reflected to a browser that holds such a token.
    assert "Content-Encoding" not in client.get("/search?q=x", headers=CODINGS).headers


def test_answer_to_a_bearer_token_is_not_compressed(api: Obtain) -> None:
    ada = api("ada")
    ada.post("T", "A long text. " * 100)

    assert "Content-Encoding" not in ada.request("GET", "/posts", headers=CODINGS).headers
    refused = {"Authorization": "Bearer rubbish"} | CODINGS
    assert "Content-Encoding" not in ada.client.get("/api/v1/posts", headers=refused).headers


def test_stream_is_not_compressed(app: Flask, client: FlaskClient) -> None:
    @app.get("/stream")
    def stream() -> Iterator[str]:
        yield from ("part " * 200, "part " * 200)

    answer = client.get("/stream", headers=CODINGS)

    assert answer.data == b"part " * 400
    assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize("path", ["/static/site.css", "/avatars/ada.svg"])
def test_what_is_the_same_for_everybody_is_so_with_a_session_too(
    client: FlaskClient, browser: LogIn, path: str
) -> None:
    person = browser("ada")
    answers = []
    for asking in (client, person.client):
        with asking.get(path, headers=CODINGS) as answer:
            answers.append((answer.data, answer.headers.get("Content-Encoding"), answer.vary))

    assert answers[0] == answers[1]
    assert "Cookie" not in answers[0][2]
    assert "Accept-Encoding" in answers[0][2]


def test_static_file_is_compressed_and_revalidated(client: FlaskClient) -> None:
    with client.get("/static/site.css") as plain:
        data = plain.data
    answer = client.get("/static/site.css", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(answer.data) == data
    assert answer.headers["ETag"] != plain.headers["ETag"]

    again = {"Accept-Encoding": "gzip", "If-None-Match": answer.headers["ETag"]}
    assert client.get("/static/site.css", headers=again).status_code == 304
    with client.get("/static/site.css", headers={"Range": "bytes=0-9"} | CODINGS) as part:
        assert (part.status_code, part.data) == (206, data[:10])


def test_head_has_the_length_of_what_a_get_would_be(client: FlaskClient) -> None:
    get, head = client.get("/", headers=CODINGS), client.head("/", headers=CODINGS)

    assert head.data == b""
    assert head.headers["Content-Encoding"] == get.headers["Content-Encoding"]
    assert head.headers["Content-Length"] == str(len(get.data))
