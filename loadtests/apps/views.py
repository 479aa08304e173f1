"""Views that each cost one thing: almost nothing, some JSON, waiting, computing, bodies.

`app` has them at the root; `loadtests.apps.bundled` under `/loadtest`.
"""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, Flask, request

WAIT_S = 0.05
COMPUTE_S = 0.003

blueprint = Blueprint("loadtest", __name__)


@blueprint.get("/")
def hello() -> str:
    return "Hello, World!"


@blueprint.get("/json")
def small_json() -> dict[str, Any]:
    return {"id": 42, "name": "Ada", "tags": ["flask", "tornado"], "ratio": 0.5, "ok": True}


@blueprint.get("/wait")
def wait() -> str:
    """Hold the thread for 50 ms, as a query of a slow database does."""
    time.sleep(WAIT_S)
    return "waited"


@blueprint.get("/compute")
def compute() -> str:
    """Use 3 ms of processor time in Python's own instructions, however long that takes."""
    ends = time.thread_time() + COMPUTE_S
    number = 1
    while time.thread_time() < ends:
        for _ in range(200):
            number = number * 48271 % 2147483647
    return "computed"


@blueprint.post("/echo")
def echo() -> bytes:
    return request.get_data()


@blueprint.post("/upload")
def upload() -> dict[str, int]:
    """Read a form's file to its end."""
    return {"bytes": len(request.files["file"].read())}


app = Flask(__name__)
app.register_blueprint(blueprint)
