"""Bottle in one file."""

from __future__ import annotations

from collections.abc import Iterator

import bottle

app = bottle.Bottle()


@app.route("/hello/<name>")
def hello(name: str) -> str:
    return f"hello {name}, at {bottle.request.fullpath}"


@app.route("/stream")
def stream() -> Iterator[str]:
    yield "one "
    yield "two "
    yield "three"


@app.post("/upload")
def upload() -> dict[str, int]:
    return {name: len(item.file.read()) for name, item in bottle.request.files.items()}


@app.route("/fails")
def fails() -> None:
    raise RuntimeError("on purpose")
