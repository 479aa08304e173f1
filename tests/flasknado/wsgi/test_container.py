"""`WSGIContainer`: its settings, its queue, its limits, its mount."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, request, url_for
from tornado.httpserver import HTTPServer as TornadoHTTPServer
from tornado.web import Application, FallbackHandler

from flasknado import WSGIContainer
from flasknado.errors import ConfigurationError
from flasknado.http.head import parse_head
from flasknado.wsgi import container as container_module
from tests.flasknado.wsgi.conftest import Serve
from tests.flasknado.wsgi.wire import DEADLINE_S, Wire, ask
from tests.support.poll import poll
from tests.support.serving import Serving, serving


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["SCRIPT_NAME"].encode() + b"|" + environ["PATH_INFO"].encode()]


# Settings.


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"threads": 0}, "threads must be 1 or more, not 0"),
        ({"threads": -1}, "threads must be 1 or more, not -1"),
        ({"queue_limit": 0}, "queue_limit must be 1 or more, not 0"),
        ({"queue_timeout_s": 0}, "queue_timeout_s must be more than 0 seconds, not 0"),
        ({"request_timeout_s": -0.5}, "request_timeout_s must be more than 0 seconds, not -0.5"),
        ({"max_body_bytes": -1}, "max_body_bytes must be a whole number of bytes"),
        ({"body_limits": {"/a": -1}}, "the body limit for '/a' must be"),
        ({"body_limits": {"a": 1}}, "the body limit for 'a' must name"),
        ({"mount": "shop"}, "'shop'"),
        ({"mount": "/shop/"}, "'/shop/'"),
        ({"mount": "/"}, "'/'"),
        ({"mount": "//shop"}, "'//shop'"),
        ({"mount": "/sh%20op"}, "'/sh%20op'"),
        ({"mount": "/sh op"}, "'/sh op'"),
        ({"mount": "/shop?a"}, "'/shop?a'"),
        ({"mount": "/caf\xe9"}, "'/caf\xe9'"),
    ],
)
def test_setting_out_of_its_range_is_refused_with_its_value(
    options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        WSGIContainer(hello, **options)
    assert told in str(refusal.value)


@pytest.mark.parametrize("application", [None, "app:app", 7])
def test_application_that_is_none_is_refused(application: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not a WSGI application"):
        WSGIContainer(application)


def test_queue_limit_grows_with_the_threads_by_default() -> None:
    assert WSGIContainer(hello, threads=3).pool.queue_limit == 3 * 64


def test_multiprocess_is_told_to_the_application() -> None:
    container = WSGIContainer(hello, multiprocess=True)
    assert container.base_environ["wsgi.multiprocess"] is True
    container.multiprocess = False
    assert container.multiprocess is container.base_environ["wsgi.multiprocess"] is False


# The queue.


class Hanging:
    """An application that hangs under `/hang` until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.ran: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.ran.append(environ["PATH_INFO"])
        if environ["PATH_INFO"] == "/hang":
            assert self.released.wait(DEADLINE_S)
        return hello(environ, start_response)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    app = Hanging()
    yield app
    app.released.set()


def container_of(server: Serving) -> WSGIContainer:
    assert server.server.container is not None
    return server.server.container


def send_and_wait(server: Serving, wires: list[Wire], path: str, busy: int, queued: int) -> None:
    """Send a request and wait until the pool has these gauges."""
    wire = Wire(server.address)
    wires.append(wire)
    wire.send(f"GET {path} HTTP/1.1\r\nHost: example.test\r\n\r\n".encode())
    pool = container_of(server).pool
    poll(lambda: (pool.busy, pool.queued), until=lambda gauges: gauges == (busy, queued))


@pytest.fixture
def wires() -> Iterator[list[Wire]]:
    wires: list[Wire] = []
    yield wires
    for wire in wires:
        wire.close()


def test_request_above_the_queue_limit_is_answered_503_and_may_be_tried_again(
    serve: Serve, hanging: Hanging, wires: list[Wire]
) -> None:
    server = serve(hanging, threads=1, queue_limit=2)
    send_and_wait(server, wires, "/hang", 1, 0)
    send_and_wait(server, wires, "/a", 1, 1)
    send_and_wait(server, wires, "/b", 1, 2)
    with Wire(server.address) as wire:
        refused = wire.get("/c")
        assert refused.status == 503
        assert refused.header("Retry-After") == "1"
        hanging.released.set()
        assert [other.answer().status for other in wires] == [200, 200, 200]
        assert wire.get("/c").status == 200
    assert hanging.ran == ["/hang", "/a", "/b", "/c"]


def test_request_that_waits_too_long_is_answered_503_while_every_thread_hangs(
    serve: Serve, hanging: Hanging, wires: list[Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_module, "SWEEP_INTERVAL_S", 0.05)
    server = serve(hanging, threads=2, queue_limit=1, queue_timeout_s=0.1, stream_threads=0)
    send_and_wait(server, wires, "/hang", 1, 0)
    send_and_wait(server, wires, "/hang", 2, 0)
    for _ in range(3):
        with Wire(server.address) as wire:
            shed = wire.get("/late")
            assert shed.status == 503
            assert shed.header("Retry-After") == "1"
    assert container_of(server).pool.queued == 0
    hanging.released.set()
    assert [wire.answer().status for wire in wires] == [200, 200]
    assert "/late" not in hanging.ran
    assert ask(server.address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").status == 200


def test_request_of_a_client_that_left_while_it_waited_is_not_run(
    serve: Serve, hanging: Hanging, wires: list[Wire]
) -> None:
    server = serve(hanging, threads=1)
    send_and_wait(server, wires, "/hang", 1, 0)
    send_and_wait(server, wires, "/left", 1, 1)
    wires.pop().reset()
    poll(lambda: server.server.counters.in_flight == 1)
    send_and_wait(server, wires, "/stays", 1, 2)
    hanging.released.set()
    assert [wire.answer().status for wire in wires] == [200, 200]
    assert hanging.ran == ["/hang", "/stays"]


# The limits of bodies.


def post(path: str, size: int) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + b"x" * size


def test_body_announced_too_large_is_refused_before_it_is_sent(serve: Serve) -> None:
    server = serve(hello, max_body_bytes=1000)
    with Wire(server.address) as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")
        answer = wire.answer()
        assert answer.status == 413
        assert "1000" in answer.text
        assert answer.header("Connection") == "close"


def test_body_announced_too_large_is_refused_instead_of_continued(serve: Serve) -> None:
    server = serve(hello, max_body_bytes=1000)
    with Wire(server.address) as wire:
        wire.send(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n"
        )
        answer = wire.answer()
    assert answer.status == 413
    assert answer.interim == []


def test_chunked_body_is_refused_once_it_is_too_large(serve: Serve) -> None:
    server = serve(hello, max_body_bytes=1000)
    with Wire(server.address) as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        wire.send(b"%x\r\n%b\r\n" % (1000, b"x" * 1000) + b"1\r\nx\r\n")
        assert wire.answer().status == 413


@pytest.mark.parametrize(
    ("path", "largest"),
    [
        ("/", 100),
        ("/up", 1000),
        ("/up/load", 1000),
        ("/up/small/x", 10),
        ("/up/small?q", 10),
        ("/%75p/sm%61ll", 10),
        ("http://x/up/small", 10),
        ("/other/up/small", 100),
    ],
)
def test_body_limit_is_that_of_the_longest_prefix_of_the_path(
    path: str, largest: int, serve: Serve
) -> None:
    server = serve(hello, max_body_bytes=100, body_limits={"/up": 1000, "/up/small": 10})
    assert ask(server.address, post(path, largest)).status == 200
    assert ask(server.address, post(path, largest + 1)).status == 413


def test_body_limit_of_zero_takes_requests_without_a_body(serve: Serve) -> None:
    server = serve(hello, max_body_bytes=0)
    assert ask(server.address, post("/", 0)).status == 200
    assert ask(server.address, post("/", 1)).status == 413


def test_body_limit_may_be_asked_without_a_server() -> None:
    container = WSGIContainer(hello, max_body_bytes=5, body_limits={"/caf\xe9": 7})
    head = parse_head("POST", "/caf%C3%A9", "1.1", [(b"Host", b"x")])
    assert container.max_body_bytes_for(head) == 7


# The mount.


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/shop", 200, "/shop|"),
        ("/shop/", 200, "/shop|/"),
        ("/shop/a?b", 200, "/shop|/a"),
        ("http://x/shop/a", 200, "/shop|/a"),
        ("/%73hop/%7Ea%2F", 200, "/shop|/~a/"),
        ("/shopping", 404, "This application is served under /shop/.\n"),
        ("/", 404, "This application is served under /shop/.\n"),
        ("/x/shop/", 404, "This application is served under /shop/.\n"),
    ],
)
def test_mounted_application_answers_under_its_prefix_alone(
    path: str, status: int, body: str, serve: Serve
) -> None:
    server = serve(hello, mount="/shop")
    with Wire(server.address) as wire:
        for _ in range(2):
            answer = wire.get(path)
            assert (answer.status, answer.text) == (status, body)


def test_mounted_flask_application_builds_and_redirects_to_urls_under_its_prefix(
    serve: Serve,
) -> None:
    app = Flask(__name__)

    @app.get("/slash/")
    def slash() -> dict[str, str]:
        return {
            "root": request.root_path,
            "path": request.path,
            "url": url_for("slash", _external=True),
            "static": url_for("static", filename="a"),
        }

    server = serve(app, mount="/shop/deep")
    with Wire(server.address) as wire:
        redirect = wire.get("/shop/deep/slash")
        assert redirect.header("Location") == "http://example.test/shop/deep/slash/"
        assert json.loads(wire.get("/shop/deep/slash/").text) == {
            "root": "/shop/deep",
            "path": "/slash/",
            "url": "http://example.test/shop/deep/slash/",
            "static": "/shop/deep/static/a",
        }


# In Tornado's own server.


@pytest.mark.parametrize("inside", ["server", "fallback handler"])
def test_container_stands_in_for_tornados_own(inside: str) -> None:
    app = Flask(__name__)

    @app.post("/form")
    def form() -> dict[str, Any]:
        return {"form": request.form, "length": request.content_length, "by": request.remote_addr}

    @app.get("/stream")
    def stream() -> Iterator[str]:
        yield "one"
        yield "two"

    def make() -> Any:
        container = WSGIContainer(app, threads=2)
        application: Any = container
        if inside == "fallback handler":
            application = Application([(".*", FallbackHandler, {"fallback": container})])
        server = _DrainingServer(application)
        server.to_stop = container
        return server

    with serving(make) as server, Wire(server.address) as wire:
        chunked = b"POST /form HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        chunked += b"Content-Type: application/x-www-form-urlencoded\r\n\r\n3\r\na=1\r\n0\r\n\r\n"
        assert wire.ask(chunked).text == '{"by":"127.0.0.1","form":{"a":"1"},"length":3}\n'
        assert wire.get("/stream").text == "onetwo"
        assert wire.get("/none").status == 404


class _DrainingServer(TornadoHTTPServer):
    """Tornado's server with the one method of ours that `serving` calls."""

    to_stop: WSGIContainer

    async def drain(self, timeout_s: float) -> bool:
        self.stop()
        self.to_stop.stop()
        await self.close_all_connections()
        return True
