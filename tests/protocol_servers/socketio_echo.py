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
from tests.protocol_servers.running import run


def application(**options: Any) -> Flask:
    """Return the application."""
    app = Flask("socketio_echo")
    socketio = SocketIO(
        app,
        ping_interval=0.3,
        ping_timeout=0.2,
        max_http_buffer_size=1_000_000,
        cors_allowed_origins="*",
        **options,
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


def server(layer: str = "llhttp", **options: Any) -> HTTPServer:
    """Return a server with the application; on the loop that will run it."""
    return HTTPServer(WSGIContainer(application(**options)), http=layer)


if __name__ == "__main__":
    run(server)
