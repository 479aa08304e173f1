"""Answers that stay open, beside the views of `loadtests.apps.views`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response
from flask_sock import Sock  # type: ignore[import-not-found]

from loadtests.apps.views import blueprint

PART_INTERVAL_S = 1.0
STREAM_S = 120.0

app = Flask(__name__)
app.register_blueprint(blueprint)
sock = Sock(app)


@app.get("/stream")
def stream() -> Response:
    """Send a part a second, from a generator as any application writes it."""

    def parts() -> Iterator[str]:
        ends_at = time.monotonic() + STREAM_S
        while time.monotonic() < ends_at:
            yield "data: part\n\n"
            time.sleep(PART_INTERVAL_S)

    return Response(parts(), mimetype="text/event-stream")


@sock.route("/socket")  # type: ignore[untyped-decorator]
def socket(ws: Any) -> None:
    """Send back what comes."""
    while True:
        ws.send(ws.receive())
