"""The name of one request, in the server's log, in the answer's header and in error answers."""

from __future__ import annotations

from uuid import uuid4

from flask import g, request

HEADER = "X-Request-ID"
ENVIRON_KEY = "flasknado.request_id"


def request_id() -> str:
    """Return this request's id: the server's own if it gave one, else a new one."""
    if "request_id" not in g:
        g.request_id = request.environ.get(ENVIRON_KEY) or uuid4().hex
    name: str = g.request_id
    return name
