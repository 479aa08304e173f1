"""The Socket.IO application of the benchmark, for whatever has Flask-SocketIO's interface."""

from __future__ import annotations

from typing import Any

from flask import Flask

OPTIONS: dict[str, Any] = {"ping_interval": 120, "ping_timeout": 60, "cors_allowed_origins": "*"}
"""The clients of the benchmark do not answer pings."""
NEWS = {"n": "^", "text": "x" * 120}
"""What everybody is told; its mark is in nothing else that is sent."""


def application(library: Any, **options: Any) -> Flask:
    """Return an application whose Socket.IO is that of a library, which was imported."""
    app = Flask("socketio")
    app.add_url_rule("/", view_func=lambda: "Hello, World!")
    socketio = library.SocketIO(app, **OPTIONS, **options)

    @socketio.on("publish")  # type: ignore[untyped-decorator]
    def publish(events: int) -> None:
        for _ in range(events):
            library.emit("news", NEWS, broadcast=True)

    @socketio.on("echo")  # type: ignore[untyped-decorator]
    def echo(text: str) -> str:
        return text

    return app
