"""A Flask application that says who it is and what it believes of the client."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, request

app = Flask(__name__)


@app.route("/", methods=["GET", "POST"])
def who() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "remote_addr": request.remote_addr,
        "scheme": request.scheme,
        "url": request.url,
        "headers": {name.lower(): value for name, value in request.headers},
        "body_bytes": len(request.get_data()),
    }
