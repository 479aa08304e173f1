"""The small application that most attacks are made on: views, native handlers, live events.

    flasknado --handlers tests.siege.application:routes tests.siege.application:app

Its timeouts are short, so that an attack that waits for one ends soon.
"""

from __future__ import annotations

import collections
import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, jsonify, request
from tornado.web import RequestHandler, URLSpec
from tornado.websocket import WebSocketClosedError, WebSocketHandler

import flasknado.live
from flasknado.live import Live
from tests.siege.setups import BEHIND, HANG_S, HEARTBEAT_S, SUBSCRIBE_TIMEOUT_S

BIG_BYTES = 16 * 1024 * 1024
PIECE = b"x" * 65536

app = Flask("siege")
app.config.update(
    LIVE_HEARTBEAT_S=HEARTBEAT_S,
    LIVE_SUBSCRIBE_TIMEOUT_S=SUBSCRIBE_TIMEOUT_S,
    LIVE_BACKLOG_LIMIT_BYTES=64 * 1024,
    LIVE_PRESENCE=["watched"],
    LIVE_PUBLISH_TOKEN=os.environ.get("LIVE_PUBLISH_TOKEN"),
)
live = Live(app, database_url="memory://")
ran: collections.Counter[str] = collections.Counter()


@live.authorize
def may_read(channel: str) -> bool:
    if channel == "hangs":
        time.sleep(HANG_S)
    return channel != "private"


@app.before_request
def note() -> None:
    if request.path.startswith(BEHIND):
        ran[request.path] += 1


@app.get("/")
def page() -> str:
    return "A page."


@app.get("/big")
def big() -> Response:
    def pieces() -> Iterator[bytes]:
        for _ in range(BIG_BYTES // len(PIECE)):
            yield PIECE

    return Response(pieces(), mimetype="application/octet-stream")


@app.post("/form")
def form() -> str:
    return str(len(request.form))


@app.post("/upload")
def upload() -> str:
    return str(sum(map(len, iter(lambda: request.stream.read(65536), b""))))


@app.route(f"{BEHIND}<name>", methods=["GET", "POST"])
def behind(name: str) -> str:
    return name


@app.get("/ran")
def what_ran() -> Response:
    return jsonify(ran)


@app.get("/present")
def present() -> Response:
    return jsonify(live.presence("watched").count)


@app.get("/seen")
def seen() -> Response:
    """Say what the server has told of this client."""
    names = [name for name in request.environ if name.startswith("SSL_")]
    return jsonify(
        address=request.remote_addr,
        url=request.url,
        root=request.script_root,
        certificate=names,
        request_id=request.environ.get("flasknado.request_id"),
    )


class Hello(RequestHandler):
    def get(self) -> None:
        self.write("hello")


class Form(RequestHandler):
    def post(self) -> None:
        self.write(str(len(self.get_body_arguments("a"))))


class Behind(RequestHandler):
    def get(self) -> None:
        ran[self.request.path] += 1


class Echo(WebSocketHandler):
    def on_message(self, message: Any) -> None:
        with contextlib.suppress(WebSocketClosedError):
            self.write_message(message)


routes = [
    *flasknado.live.routes("/live"),
    URLSpec("/native/hello", Hello),
    URLSpec("/native/form", Form),
    URLSpec(f"{BEHIND}native/.*", Behind),
    URLSpec("/native/echo", Echo),
]
