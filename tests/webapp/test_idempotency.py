"""What is sent twice is done once: forms by their hidden key, API requests by theirs."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.webapp.people import ApiClient, Browser, assert_api_error
from webapp.columns import utc_now
from webapp.extensions import db
from webapp.models import Comment, Post
from webapp.records import DoneOnce

LogIn = Callable[..., Browser]
Obtain = Callable[..., ApiClient]
POST = {"title": "T", "body": "B"}


def form_of(person: Browser, path: str) -> dict[str, str]:
    """Return the hidden fields of a page's last form, as the browser keeps them."""
    page = person.get(path).text
    names = ("csrf_token", "form_key", "version")
    found = {name: re.findall(rf'name="{name}"[^>]*value="([^"]*)"', page) for name in names}
    return {name: values[-1] for name, values in found.items() if values}


def count(app: Flask, model: type[Post | Comment | DoneOnce]) -> int:
    with app.app_context():
        return int(db.session.query(model).count())


def test_form_that_is_sent_twice_makes_one_post(app: Flask, browser: LogIn) -> None:
    person = browser("ada")
    form = form_of(person, "/write") | POST

    first, second = (person.client.post("/write", data=form) for _ in range(2))

    assert (first.status_code, first.location) == (302, "/post/1")
    assert (second.status_code, second.location) == (302, "/post/1")
    assert count(app, Post) == 1


def test_form_that_is_changed_and_sent_again_makes_two_posts(app: Flask, browser: LogIn) -> None:
    person = browser("ada")
    form = form_of(person, "/write") | POST

    person.client.post("/write", data=form)
    second = person.client.post("/write", data=form | {"title": "Another"})

    assert second.location == "/post/2"


def test_form_of_somebody_else_is_another_form(app: Flask, browser: LogIn) -> None:
    ada, grace = browser("ada"), browser("grace")
    form = form_of(ada, "/write") | POST
    ada.client.post("/write", data=form)

    grace.client.post("/write", data=form | {"csrf_token": grace.csrf_token("/write")})

    assert count(app, Post) == 2


def test_comment_that_is_sent_twice_is_one(app: Flask, browser: LogIn) -> None:
    person = browser("ada")
    person.submit("/write", **POST)
    form = form_of(person, "/post/1") | {"body": "Well said."}

    answers = [person.client.post("/post/1/comments", data=form) for _ in range(2)]

    assert {answer.location for answer in answers} == {"/post/1#comment-1"}
    assert count(app, Comment) == 1


def test_form_that_was_refused_may_be_sent_again(app: Flask, browser: LogIn) -> None:
    person = browser("ada")
    form = form_of(person, "/write")

    assert person.client.post("/write", data=form | {"title": "", "body": "B"}).status_code == 422
    assert person.client.post("/write", data=form | POST).status_code == 302
    assert count(app, Post) == 1


def test_page_after_a_form_names_it_once(browser: LogIn) -> None:
    person = browser("ada")
    form = form_of(person, "/write") | POST
    person.client.post("/write", data=form)

    assert f'data-sent="{form["form_key"]} "' in person.get("/post/1").text
    assert "data-sent" not in person.get("/post/1").text


def test_forms_sent_at_the_same_moment_make_one_post(app: Flask, browser: LogIn) -> None:
    person = browser("ada")
    form = form_of(person, "/write") | POST
    cookie = person.client.get_cookie("session")
    assert cookie is not None
    together = threading.Barrier(4, timeout=20)
    answers: list[TestResponse] = []

    def send() -> None:
        client = app.test_client()
        client.set_cookie("session", cookie.value)
        together.wait()
        answers.append(client.post("/write", data=form))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert [(answer.status_code, answer.location) for answer in answers] == [(302, "/post/1")] * 4
    assert count(app, Post) == 1


def test_api_request_that_is_sent_twice_is_answered_alike(app: Flask, api: Obtain) -> None:
    ada = api("ada")
    headers = {"Idempotency-Key": "one"}

    first, second = (ada.request("POST", "/posts", json=POST, headers=headers) for _ in range(2))

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json == second.json
    assert first.location == second.location == "/api/v1/posts/1"
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert count(app, Post) == 1


def test_api_request_without_a_key_or_with_another_is_done_again(app: Flask, api: Obtain) -> None:
    ada = api("ada")
    for headers in ({}, {}, {"Idempotency-Key": "a"}, {"Idempotency-Key": "b"}):
        assert ada.request("POST", "/posts", json=POST, headers=headers).status_code == 201

    assert count(app, Post) == 4


def test_api_key_that_was_used_for_something_else_is_422(app: Flask, api: Obtain) -> None:
    ada = api("ada")
    headers = {"Idempotency-Key": "one"}
    ada.request("POST", "/posts", json=POST, headers=headers)

    answer = ada.request("POST", "/posts", json=POST | {"title": "X"}, headers=headers)

    assert "another request" in assert_api_error(answer, 422)
    assert count(app, Post) == 1


def test_api_request_that_failed_notes_nothing(app: Flask, api: Obtain) -> None:
    ada = api("ada")
    headers = {"Idempotency-Key": "one"}

    assert_api_error(ada.request("POST", "/posts", json={}, headers=headers), 422)
    assert ada.request("POST", "/posts", json=POST, headers=headers).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9"])
def test_api_key_that_is_none_is_400(api: Obtain, key: str) -> None:
    answer = api("ada").request("POST", "/posts", json=POST, headers={"Idempotency-Key": key})

    assert "Idempotency-Key" in assert_api_error(answer, 400)


def test_notes_are_kept_for_a_day(app: Flask, api: Obtain, tmp_path: Path) -> None:
    ada = api("ada")
    for key in "abc":
        ada.request("POST", "/posts", json=POST, headers={"Idempotency-Key": key})
    with app.app_context():
        db.session.query(DoneOnce).update({"created_at": utc_now() - timedelta(hours=25)})
        db.session.commit()

    ada.request("POST", "/posts", json=POST, headers={"Idempotency-Key": "d"})

    assert count(app, DoneOnce) == 1
