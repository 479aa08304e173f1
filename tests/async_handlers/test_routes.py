"""The bundled application's native endpoints, beside an application that is not the bundled one."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest
from flask import Flask, request

import async_handlers
from flasknado import HTTPServer, WSGIContainer
from tests.support.serving import Serving, serving


def whoami(served: Serving, headers: dict[str, str]) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(*served.address, timeout=10)
    connection.request("GET", "/live/whoami", headers=headers)
    response = connection.getresponse()
    body = json.loads(response.read())
    assert response.headers["Cache-Control"] == "no-store"
    connection.close()
    return response.status, body


def test_routes_are_the_live_endpoints_and_the_applications_own() -> None:
    paths = [route.regex.pattern.rstrip("$") for route in async_handlers.routes]
    names = ["events", "ndjson", "poll", "socket", "who", "stop", "publish", "send", r"live\.js"]
    own = ["whoami", "search", "chat", "summary"]
    pulse = ("", "/stream", "/hold-streams", "/busy-threads", "/publish")
    live = [f"/live/{name}" for name in names + own]
    assert paths == live + [f"/pulse{name}" for name in pulse]


@pytest.fixture
def app() -> Flask:
    return Flask("handlers_tests")


def test_whoami_is_what_the_identity_hook_says_in_the_request(app: Flask) -> None:
    app.extensions["flasknado.identity"] = lambda: {"user": request.headers["X-User"]}
    with serving(lambda: HTTPServer(WSGIContainer(app), handlers=async_handlers.routes)) as served:
        assert whoami(served, {"X-User": "ann"}) == (200, {"user": "ann"})


@pytest.mark.parametrize("hook", [None, lambda: None])
def test_whoami_of_nobody_is_null(app: Flask, hook: Any) -> None:
    if hook is not None:
        app.extensions["flasknado.identity"] = hook
    with serving(lambda: HTTPServer(WSGIContainer(app), handlers=async_handlers.routes)) as served:
        assert whoami(served, {}) == (200, {"user": None})


def test_whoami_refused_by_the_application_is_its_status_in_json(app: Flask) -> None:
    @app.before_request
    def refuse() -> Any:
        return {"message": "log in first"}, 401

    with serving(lambda: HTTPServer(WSGIContainer(app), handlers=async_handlers.routes)) as served:
        status, body = whoami(served, {})
    assert (status, body) == (401, {"message": "log in first", "success": False, "code": 401})
