"""socket.io-client in a page: the upgrade, the session of the browser's user, other origins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from flask import Flask, Response, send_file, session

from flasknado import HTTPServer, WSGIContainer
from flasknado.socketio import SocketIO, emit
from tests.browser.page import Page
from tests.support.poll import poll
from tests.support.process import PROJECT_ROOT
from tests.support.programs import missing
from tests.support.serving import Serving, serving

CLIENT = PROJECT_ROOT / "tests/javascript/node_modules/socket.io-client/dist/socket.io.min.js"

OpenPage = Callable[[str], Page]
Serve = Callable[..., Serving]

CONNECT = """
const [url, options] = arguments;
window.seen = [];
window.errors = [];
window.socket = io(url, options);
socket.on("connect_error", (error) => errors.push(String(error)));
socket.on("hello", (user, bytes) => seen.push([user, [...new Uint8Array(bytes)]]));
"""


def application(**options: object) -> Flask:
    """Return an application with a page, which logs its visitor in."""
    app = Flask("page")
    app.secret_key = "a secret of the tests"
    socketio = SocketIO(app, **options)

    @app.get("/")
    def page() -> str:
        session["user"] = "ann"
        return '<!doctype html><script src="/client.js"></script>'

    @app.get("/client.js")
    def client() -> Response:
        return send_file(CLIENT)

    @socketio.on("connect")
    def connect() -> None:
        emit("hello", (session.get("user"), b"\x01\x02"))

    return app


@pytest.fixture
def serve() -> Iterator[Serve]:
    if not CLIENT.is_file():
        missing("socket.io-client is missing: npm --prefix tests/javascript ci")
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(
            serving(lambda: HTTPServer(WSGIContainer(application(**options))))
        )


def seen_of(page: Page) -> list[object]:
    seen: list[object] = poll(lambda: page.run("return window.seen"))
    return seen


def test_page_upgrades_and_is_its_users(serve: Serve, open_page: OpenPage) -> None:
    page = open_page(serve().url)
    page.run(CONNECT, "/", {})
    assert seen_of(page) == [["ann", [1, 2]]]
    poll(lambda: page.run("return socket.io.engine.transport.name") == "websocket")


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_page_of_another_origin_connects_as_nobody_where_any_may(
    serve: Serve, open_page: OpenPage, transport: str
) -> None:
    other = serve(cors_allowed_origins="*")
    # The browser has the user's cookie, and sends it: cookies know no ports.
    page = open_page(serve().url)
    page.run(CONNECT, other.url, {"transports": [transport]})
    assert seen_of(page) == [[None, [1, 2]]]


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_page_of_another_origin_connects_as_its_user_where_it_is_listed(
    serve: Serve, open_page: OpenPage, transport: str
) -> None:
    own = serve()
    other = serve(cors_allowed_origins=[own.url])
    page = open_page(own.url)
    page.run(CONNECT, other.url, {"transports": [transport], "withCredentials": True})
    assert seen_of(page) == [["ann", [1, 2]]]


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_page_of_another_origin_is_refused_where_none_is_named(
    serve: Serve, open_page: OpenPage, transport: str
) -> None:
    page = open_page(serve().url)
    page.run(CONNECT, serve().url, {"transports": [transport]})
    assert poll(lambda: page.run("return window.errors"))
    assert page.run("return window.seen") == []
