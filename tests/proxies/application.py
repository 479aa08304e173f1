"""An application that says what a view, and what `live.authorize`, sees of a request."""

from __future__ import annotations

from typing import Any

from flask import Flask, jsonify, request, url_for

from flasknado.live import Live

app = Flask(__name__)
live = Live(app, database_url="memory://")
asked: list[dict[str, Any]] = []


def told() -> dict[str, Any]:
    return {
        "address": request.remote_addr,
        "scheme": request.scheme,
        "host": request.host,
        "prefix": request.script_root,
        "request_id": request.environ["flasknado.request_id"],
        "url": url_for("view", _external=True),
    }


@app.route("/view")
def view() -> Any:
    return jsonify(told())


@app.route("/asked")
def last_asked() -> Any:
    return jsonify(asked[-1])


@live.authorize
def may_read(channel: str) -> bool:
    asked.append(told())
    return True
