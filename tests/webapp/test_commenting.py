"""Who is typing a comment: who is let in, who is told, and the client that pages load."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.support.process import PROJECT_ROOT
from tests.support.programs import missing
from tests.webapp.people import ApiClient, Browser
from webapp import commenting
from webapp.commenting import NAMESPACE

LogIn = Callable[..., Browser]
Obtain = Callable[..., ApiClient]
PACKAGE = PROJECT_ROOT / "tests/javascript/node_modules/socket.io-client"
VENDORED = PROJECT_ROOT / "webapp/static/vendor"


@pytest.fixture
def post_ids(app: Flask, api: Obtain) -> list[int]:
    """Return two posts."""
    writer = api("writer")
    posts = [writer.request("POST", "/posts", json={"title": t, "body": "b"}) for t in "ab"]
    return [int(post.get_json()["id"]) for post in posts]


def connect(app: Flask, browser: Browser | None, auth: Any) -> Any:
    client = None if browser is None else browser.client
    return app.extensions["socketio"].test_client(
        app, NAMESPACE, auth=auth, flask_test_client=client
    )


def heard(client: Any) -> list[str]:
    return [event["args"][0] for event in client.get_received(NAMESPACE)]


def test_readers_of_the_post_are_told_who_is_typing(
    app: Flask, browser: LogIn, post_ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = post_ids
    ada, grace = browser("ada"), browser("grace")
    adas, graces = (connect(app, person, {"post": one}) for person in (ada, grace))
    elsewhere = connect(app, grace, {"post": other})
    graces.emit("typing", namespace=NAMESPACE)
    graces.emit("typing", namespace=NAMESPACE)  # too soon
    assert (heard(adas), heard(graces), heard(elsewhere)) == (["grace"], [], [])
    monkeypatch.setattr(commenting, "SAID_EVERY_S", 0.0)
    graces.emit("typing", namespace=NAMESPACE)
    assert heard(adas) == ["grace"]
    grace.submit("/logout", form_on="/")
    graces.emit("typing", namespace=NAMESPACE)
    assert heard(adas) == []
    adas.disconnect(NAMESPACE)


@pytest.mark.parametrize(
    "auth", [None, {}, {"post": "1"}, {"post": True}, {"post": 0}, {"post": 9}]
)
def test_no_post_is_refused(app: Flask, browser: LogIn, post_ids: list[int], auth: Any) -> None:
    assert 9 not in post_ids
    assert not connect(app, browser("ada"), auth).is_connected(NAMESPACE)


def test_nobody_in_particular_is_refused(app: Flask, post_ids: list[int]) -> None:
    assert not connect(app, None, {"post": post_ids[0]}).is_connected(NAMESPACE)


def test_client_of_the_pages_is_that_of_the_package() -> None:
    if not PACKAGE.is_dir():
        missing("socket.io-client is missing: npm --prefix tests/javascript ci")
    version = json.loads((PACKAGE / "package.json").read_text())["version"]
    assert f"socket.io-client {version}" in (VENDORED / "README.md").read_text()
    original = (PACKAGE / "dist/socket.io.esm.min.js").read_text()
    script, _, source_map = original.rpartition("//# sourceMappingURL")
    assert source_map
    assert (VENDORED / "socket.io.js").read_text() == script
    assert (VENDORED / "socket.io-LICENSE").read_text() == (PACKAGE / "LICENSE").read_text()
