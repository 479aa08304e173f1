"""A Socket.IO v5 server that does what the protocol's public test suite expects of one.

    python -m tests.protocol_servers.socketio_echo [PORT [LAYER]]

The suite (github.com/socketio/socket.io, docs/socket.io-protocol/v5-test-suite: `npm ci && npm
test`) expects it on port 3000. LAYER is llhttp (on uvloop) or tornado.
"""

from __future__ import annotations

from typing import Any

from flask import Flask

from flasknado import HTTPServer, WSGIContainer
from flasknado.socketio import SocketIO, emit
from tests.protocol_servers.engineio_echo import PING_INTERVAL_S, PING_TIMEOUT_S
from tests.protocol_servers.running import run


def application(ping_interval_s: float, ping_timeout_s: float) -> Flask:
    """Return the application."""
    app = Flask("socketio_echo")
    socketio = SocketIO(
        app,
        ping_interval=ping_interval_s,
        ping_timeout=ping_timeout_s,
        max_http_buffer_size=1_000_000,
        cors_allowed_origins="*",
    )

    def connect(auth: Any) -> None:
        emit("auth", auth or {})

    socketio.on_event("connect", connect)
    socketio.on_event("connect", connect, "/custom")

    @socketio.on("message")
    def message(*args: Any) -> None:
        emit("message-back", args)

    @socketio.on("message-with-ack")
    def message_with_ack(*args: Any) -> Any:
        return args

    return app


def server(
    layer: str = "llhttp",
    ping_interval_s: float = PING_INTERVAL_S,
    ping_timeout_s: float = PING_TIMEOUT_S,
) -> HTTPServer:
    """Return a server with the application; on the loop that will run it."""
    app = application(ping_interval_s, ping_timeout_s)
    return HTTPServer(WSGIContainer(app), http=layer)


if __name__ == "__main__":
    run(server)
