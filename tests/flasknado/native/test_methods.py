"""`Allow`: which methods a native handler has."""

from __future__ import annotations

from typing import Any

import pytest
from tornado.web import FallbackHandler, HTTPError, RequestHandler
from tornado.websocket import WebSocketHandler

from flasknado import HTTPServer, WSGIContainer, ops
from flasknado.native.methods import methods_of
from tests.flasknado.wsgi.wire import Wire
from tests.support.serving import serving


class Reader(RequestHandler):
    def get(self) -> None:
        self.write("read")


class Receiver(RequestHandler):
    def post(self) -> None:
        self.write("taken")


class Both(Reader):
    def head(self) -> None:
        self.write("")

    def put(self) -> None:
        raise HTTPError(405, "not today")

    def delete(self) -> None:
        self.set_header("Allow", "GET")
        self.set_status(405)


class Narrow(RequestHandler):
    SUPPORTED_METHODS = ("GET",)

    def get(self) -> None:
        self.write("read")

    def post(self) -> None:
        self.write("never")


class Socket(WebSocketHandler):
    def on_message(self, message: str | bytes) -> None:
        pass


ROUTES = [
    (r"/reader", Reader),
    (r"/receiver", Receiver),
    (r"/both", Both),
    (r"/narrow", Narrow),
    (r"/socket", Socket),
]


@pytest.mark.parametrize(
    ("handler", "methods"),
    [
        (Reader, ["GET"]),
        (Receiver, ["POST"]),
        (Both, ["GET", "HEAD", "DELETE", "PUT"]),
        (Narrow, ["GET"]),
        (Socket, ["GET"]),
        (FallbackHandler, list(RequestHandler.SUPPORTED_METHODS)),
    ],
)
def test_methods_are_those_that_a_handler_defines(handler: Any, methods: list[str]) -> None:
    assert methods_of(handler) == methods


@pytest.mark.parametrize(
    ("request_line", "allow"),
    [
        ("POST /reader", "GET"),
        ("HEAD /reader", "GET"),
        ("BREW /reader", "GET"),
        ("GET /receiver", "POST"),
        ("OPTIONS /receiver", "POST"),
        ("POST /both", "GET, HEAD, DELETE, PUT"),
        ("PUT /both", "GET, HEAD, DELETE, PUT"),
        ("DELETE /both", "GET"),
        ("POST /narrow", "GET"),
        ("POST /socket", "GET"),
        ("POST /-/healthz", "GET, HEAD"),
        ("OPTIONS /-/metrics", "GET, HEAD"),
    ],
)
def test_405_of_a_native_handler_names_the_methods_that_it_has(
    layer: str, request_line: str, allow: str
) -> None:
    def make() -> HTTPServer:
        server = HTTPServer(WSGIContainer(print), handlers=ROUTES, http=layer.partition("-")[0])
        ops.install(server)
        return server

    method, _, path = request_line.partition(" ")
    with serving(make) as served, Wire(served.address) as wire:
        answer = wire.get(path, method=method)
        assert (answer.status, answer.header("Allow")) == (405, allow)
        right = allow.partition(",")[0]
        assert wire.get(path, method=right).all("Allow") == []
