"""A server with both halves that remembers which requests have reached them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvloop
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler, stream_request_body
from tornado.websocket import WebSocketHandler

from flasknado import HTTPServer, WSGIContainer
from tests.support.serving import Serving, serving

MAX_BODY_BYTES = 3 * 1024 * 1024

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "llhttp": uvloop.new_event_loop,
    "llhttp-asyncio": asyncio.new_event_loop,
    "tornado": asyncio.new_event_loop,
}
"""The connection layers, the new one on both kinds of loop."""


@dataclass
class Seen:
    """What the two halves have seen; written by them, read by tests."""

    requests: list[tuple[str, str, bytes]] = field(default_factory=list)
    """Method, target and body of each request."""
    gone: list[str] = field(default_factory=list)
    """Paths whose client was seen to leave."""
    release: threading.Event = field(default_factory=threading.Event)
    """Set to let `/wait` answer."""


def wsgi_application(seen: Seen) -> Any:
    """An application for the ordinary half: it answers with what it was asked."""

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        method = environ["REQUEST_METHOD"]
        body = environ["wsgi.input"].read()
        seen.requests.append((method, environ["REQUEST_URI"], body))
        if path == "/wait":
            seen.release.wait(20)
        if path == "/stream":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return _endless(seen, path)
        if path == "/events":
            start_response("200 OK", [("Content-Type", "text/event-stream")])
            return _events(seen, path)
        if path == "/held":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return _held(seen)
        if path == "/parts":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return iter([b"one ", b"two ", b"three"])
        if path == "/nothing":
            start_response("204 No Content", [])
            return []
        if path == "/unchanged":
            start_response("304 Not Modified", [("ETag", '"x"')])
            return []
        if path == "/big":
            data = b"x" * 8_000_000
        else:
            about = {
                "method": method,
                "path": path,
                "query": environ["QUERY_STRING"],
                "body_bytes": len(body),
                "host": environ.get("HTTP_HOST"),
                "client": environ["REMOTE_ADDR"],
                "scheme": environ["wsgi.url_scheme"],
            }
            data = json.dumps(about).encode()
        start_response("200 OK", [("Content-Length", str(len(data)))])
        return [data]

    return application


def _endless(seen: Seen, path: str) -> Iterator[bytes]:
    try:
        while True:
            yield b"x" * 20_000
    finally:
        seen.gone.append(path)


def _events(seen: Seen, path: str) -> Iterator[bytes]:
    try:
        while not seen.release.wait(0.01):
            yield b": still here\n\n"
    finally:
        seen.gone.append(path)


def _held(seen: Seen) -> Iterator[bytes]:
    yield b"one "
    assert seen.release.wait(20)
    for number in range(100):
        yield b"%d " % number
    yield b"end"


class _Handler(RequestHandler):
    def initialize(self, seen: Seen) -> None:
        self.seen = seen

    def on_connection_close(self) -> None:
        self.seen.gone.append(self.request.path)


class Echo(_Handler):
    """Answers with what it was asked."""

    async def _answer(self) -> None:
        request = self.request
        self.seen.requests.append((request.method or "", request.uri or "", request.body))
        if self.get_argument("slow", ""):
            await asyncio.sleep(0.01)
        self.write(
            {
                "native": True,
                "path": request.path,
                "body_bytes": len(request.body),
                "client": request.remote_ip,
                "scheme": request.protocol,
                "host": request.host,
            }
        )

    get = post = _answer


class Open(_Handler):
    """Keeps its client until it leaves."""

    async def get(self) -> None:
        self.write("open")
        await self.flush()
        while not self.seen.gone:
            await asyncio.sleep(0.01)


class Flood(_Handler):
    """Writes until the client has gone, never more than is taken."""

    async def get(self) -> None:
        try:
            while True:
                self.write(b"x" * 100_000)
                await self.flush()
        except StreamClosedError:
            self.seen.gone.append("flood ended")


@stream_request_body
class Upload(_Handler):
    """Takes a body part by part, and no faster than it wants."""

    def prepare(self) -> None:
        self.parts = 0
        self.size_bytes = 0
        connection: Any = self.request.connection
        connection.set_max_body_size(50_000_000)

    async def data_received(self, chunk: bytes) -> None:
        self.parts += 1
        self.size_bytes += len(chunk)
        if self.get_argument("blocked", ""):
            while not self.seen.release.is_set():
                await asyncio.sleep(0.01)

    def post(self) -> None:
        self.write({"size_bytes": self.size_bytes, "parts": self.parts})


class Chat(WebSocketHandler):
    """Says again what it is told."""

    def initialize(self, seen: Seen) -> None:
        self.seen = seen

    def on_message(self, message: str | bytes) -> None:
        self.write_message(message, binary=isinstance(message, bytes))

    def on_close(self) -> None:
        self.seen.gone.append("chat")


@dataclass
class Site:
    """A running server of both halves, and what has reached them."""

    serving: Serving
    seen: Seen

    @property
    def address(self) -> tuple[str, int]:
        return self.serving.address

    @property
    def server(self) -> HTTPServer:
        return self.serving.server


def make_server(seen: Seen, layer: str, **options: Any) -> HTTPServer:
    container = WSGIContainer(wsgi_application(seen), threads=4, max_body_bytes=MAX_BODY_BYTES)
    given = {"seen": seen}
    routes = [
        (r"/native(?:/.*)?", Echo, given),
        (r"/open", Open, given),
        (r"/flood", Flood, given),
        (r"/upload", Upload, given),
        (r"/chat", Chat, given),
    ]
    return HTTPServer(container, handlers=routes, http=layer.partition("-")[0], **options)


@contextlib.contextmanager
def site(layer: str, **options: Any) -> Iterator[Site]:
    """Serve until the block ends; `options` are those of `HTTPServer`."""
    seen = Seen()
    with serving(lambda: make_server(seen, layer, **options), new_loop=LOOPS[layer]) as running:
        yield Site(running, seen)
        seen.release.set()
        seen.gone.append("the end")
