"""Answers that stay open, beside the views of `loadtests.apps.views`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from flask import Flask, Response
from flask_sock import Sock  # type: ignore[import-not-found]

from flasknado import stream as stream_on_loop
from loadtests.apps.views import blueprint

PART_INTERVAL_S = 1.0
LOOP_INTERVAL_S = 1 / 30
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


@app.get("/loop")
def loop() -> Response:
    """Send 30 parts a second, from an asynchronous generator on the event loop."""
    return stream_on_loop(parts_on_loop(LOOP_INTERVAL_S), "text/event-stream")


@app.get("/quiet")
def quiet() -> Response:
    """Send what `/stream` does, from the event loop."""
    return stream_on_loop(parts_on_loop(PART_INTERVAL_S), "text/event-stream")


async def parts_on_loop(interval_s: float) -> AsyncIterator[str]:
    ends_at = time.monotonic() + STREAM_S
    while time.monotonic() < ends_at:
        yield "data: part\n\n"
        await asyncio.sleep(interval_s)


@app.get("/async")
async def hello_of_coroutine() -> str:
    return "Hello, World!"


@sock.route("/socket")  # type: ignore[untyped-decorator]
def socket(ws: Any) -> None:
    """Send back what comes."""
    while True:
        ws.send(ws.receive())
