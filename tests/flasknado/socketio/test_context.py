"""Whose request a handler sees: address, session, user, and the end of the user's access."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask, g, request, session

from flasknado import HTTPServer, WSGIContainer
from flasknado.live import Identity, Live
from flasknado.socketio import SocketIO
from tests.flasknado.live.helpers import wait_for
from tests.flasknado.socketio.clients import Requests
from tests.flasknado.socketio.socket_client import SocketClient
from tests.support.serving import Serving, serving


def application() -> Flask:
    app = Flask("context")
    app.secret_key = "a secret of the tests"
    app.config["LIVE_MAX_PER_USER"] = 3
    live = Live(app, database_url="memory://")
    socketio = SocketIO(app, cookie={"name": "io", "httponly": True}, http_compression=True)
    app.extensions["called"] = []

    @app.before_request
    def load_user() -> Any:
        g.user = request.headers.get("X-User")
        return ("banned", 403) if g.user == "banned" else None

    @live.identity
    def who() -> Identity:
        expires = request.headers.get("X-Expires")
        return Identity(g.user, float(expires) if expires else None)

    @socketio.on("connect")
    def connect() -> None:
        app.extensions["called"].append(("connect", getattr(g, "user", "nobody asked")))

    @socketio.on("disconnect")
    def disconnect() -> None:
        app.extensions["called"].append(("disconnect", request.headers.get("X-User")))

    socketio.on_event("connect", lambda: None, "/other")

    @socketio.on("where")
    def where() -> list[Any]:
        return [request.remote_addr, request.scheme, request.host, hasattr(g, "user")]

    @socketio.on("count")
    def count() -> int:
        session["count"] = session.get("count", 0) + 1
        return int(session["count"])

    @app.get("/count")
    def page() -> str:
        session["count"] = 40
        return "40"

    socketio.on_event("much", lambda: "x" * 10_000)
    return app


@pytest.fixture(scope="module")
def app() -> Flask:
    return application()


@pytest.fixture(scope="module")
def served(app: Flask) -> Iterator[Serving]:
    def make() -> HTTPServer:
        return HTTPServer(
            WSGIContainer(app), trusted_proxies=["127.0.0.1"], trusted_fields=["for", "proto"]
        )

    with serving(make) as served:
        yield served


def test_address_is_that_of_the_client_behind_a_trusted_proxy(served: Serving) -> None:
    headers = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    with SocketClient(served, headers=headers) as client:
        address, scheme, host, has_user = client.ask("where")[0]
    assert (address, scheme) == ("192.0.2.7", "https")
    assert host == f"127.0.0.1:{served.port}"
    assert not has_user, "no before_request function runs for an event"


def calls(app: Flask, user: str) -> list[tuple[str, str]]:
    """Return the calls for a user; those for clients of the test before may come late."""
    return [call for call in app.extensions["called"] if call[1] == user]


def test_session_is_the_browsers_and_lasts_for_the_connection(served: Serving) -> None:
    page = Requests(served, "/count").send()
    cookie = page.headers["Set-Cookie"].partition(";")[0]
    with SocketClient(served, headers={"Cookie": f"other=1; {cookie}"}) as client:
        assert [client.ask("count") for _ in range(3)] == [[41], [42], [43]]
    with SocketClient(served, headers={"Cookie": cookie}) as client:
        assert client.ask("count") == [41]


def test_identity_is_asked_for_as_for_live_events(app: Flask, served: Serving) -> None:
    app.extensions["called"].clear()
    with SocketClient(served, headers={"X-User": "ann"}):
        assert calls(app, "ann") == [("connect", "ann")]


def test_user_has_no_more_clients_than_may_be(app: Flask, served: Serving) -> None:
    headers = {"X-User": "eve"}
    with ExitStack() as stack:
        first, _ = (stack.enter_context(SocketClient(served, headers=headers)) for _ in range(2))
        first.connect("/other")
        app.extensions["called"].clear()
        refused = stack.enter_context(SocketClient(served, headers=headers, at_once=False))
        refused.send("40")
        assert "LIVE_MAX_PER_USER" in refused.wait_for_packet("44")
        assert not [packet for packet in refused.packets if str(packet).startswith("40")]
        wait_for(lambda: len(calls(app, "eve")) == 2, "the application hears of its end")
        assert calls(app, "eve") == [("connect", "eve"), ("disconnect", "eve")]
        stack.enter_context(SocketClient(served, headers={"X-User": "ann"}))
        stack.enter_context(SocketClient(served))
        first.send("41/other,")
        refused.send("40")
        refused.wait_for_packet("40{")


def test_client_whose_access_has_ended_is_disconnected(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    expires = time.time() + 600
    headers = {"X-User": "ann", "X-Expires": str(expires)}
    with SocketClient(served, headers=headers) as client:
        assert client.ask("count") == [1]
        clock = SimpleNamespace(time=lambda: expires)
        monkeypatch.setattr("flasknado.socketio.server.time", clock)
        client.emit("count")
        client.wait_closed()


def test_cookie_and_compression_are_as_asked_for(served: Serving) -> None:
    requests = Requests(served)
    answer = requests.send(EIO="4", transport="polling")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("io=")
    assert "HttpOnly" in cookie
    session = requests.open({"Accept-Encoding": "gzip"})
    session.post("40")
    small = session.poll()
    assert small.headers["Content-Encoding"] is None
    session.post('421["much"]')
    large = session.poll()
    assert large.headers["Content-Encoding"] == "gzip"
    assert len(large.body) < 1000


def test_path_and_mount_are_where_the_application_is() -> None:
    app = Flask("mounted")
    SocketIO(app, path="/chat/io")
    with serving(lambda: HTTPServer(WSGIContainer(app, mount="/shop"))) as served:
        for path, status in (
            ("/shop/chat/io/", 200),
            ("/shop/chat/io", 200),
            ("/chat/io/", 404),
            ("/shop/socket.io/", 404),
        ):
            assert Requests(served, path).send(EIO="4", transport="polling").status == status, path
