"""The pages of people without an account are kept by the server, until what they show changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from flasknado import HTTPServer, WSGIContainer
from tests.flasknado.live.helpers import get, wait_for
from tests.support.serving import Serving, serving
from tests.webapp.people import Browser

HIT = "flasknado; hit"


@pytest.fixture
def served(app: Flask) -> Iterator[Serving]:
    with serving(lambda: HTTPServer(WSGIContainer(app))) as running:
        # Until the log is followed nothing is kept.
        wait_for(lambda: get(running, "/")[1]["Cache-Status"] == HIT)
        yield running


def test_timeline_is_kept_until_a_post_changes(
    served: Serving, browser: Callable[..., Browser]
) -> None:
    ada = browser("ada")
    assert get(served, "/")[1]["Cache-Status"] == HIT
    created = ada.submit("/write", title="Brand-new", body="Text")
    assert created.status_code == 302
    status, headers, page = get(served, "/")
    assert (status, headers["Cache-Status"]) == (200, "flasknado; fwd=uri-miss; stored")
    assert b"Brand-new" in page
    assert get(served, "/")[2] == page
    ada.submit(f"{created.location}/comments", created.location, body="First!")
    assert b"1 comment" in get(served, "/")[2]


def test_page_of_a_post_is_kept_until_somebody_comments(
    served: Serving, browser: Callable[..., Browser]
) -> None:
    ada = browser("ada")
    address = ada.submit("/write", title="Title", body="Text").location
    get(served, address)
    assert get(served, address)[1]["Cache-Status"] == HIT
    ada.submit(f"{address}/comments", address, body="First!")
    assert b"First!" in get(served, address)[2]


def test_page_of_a_person_is_kept_until_it_says_something_else(
    served: Serving, browser: Callable[..., Browser]
) -> None:
    ada = browser("ada")
    for path in ("/ada", "/login"):
        get(served, path)
    assert get(served, "/ada")[1]["Cache-Status"] == HIT
    assert get(served, "/login")[1]["Cache-Status"] is None
    ada.submit("/account/profile", about="I count.")
    assert b"I count." in get(served, "/ada")[2]
    ada.submit("/write", title="Brand-new", body="Text")
    assert b"Brand-new" in get(served, "/ada")[2]


def test_timeline_of_a_person_is_made_for_that_person(
    served: Serving, browser: Callable[..., Browser]
) -> None:
    ada = browser("ada")
    cookie = ada.client.get_cookie("session")
    assert cookie is not None
    for _ in range(2):
        _, headers, page = get(served, "/", {"Cookie": f"session={cookie.value}"})
        assert headers["Cache-Status"] is None
        assert headers["Cache-Control"] == "no-cache, private"
        assert b"Log out" in page
    _, headers, page = get(served, "/")
    assert (headers["Cache-Status"], headers["Cache-Control"]) == (HIT, "no-cache")
    assert b"Log out" not in page


def test_compressed_timeline_is_kept_beside_the_plain_one(served: Serving) -> None:
    plain = get(served, "/")[2]
    for expected in ("flasknado; fwd=uri-miss; stored", HIT):
        _, headers, body = get(served, "/", {"Accept-Encoding": "gzip"})
        assert (headers["Cache-Status"], headers["Content-Encoding"]) == (expected, "gzip")
        assert len(body) < len(plain)
    assert get(served, "/")[1]["Content-Encoding"] is None
