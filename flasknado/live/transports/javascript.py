"""`GET live.js`: the browser's client, a module that any page may import."""

from __future__ import annotations

import functools
from pathlib import Path

from tornado.web import RequestHandler

MODULE = Path(__file__).parents[1] / "static" / "live.js"
MAX_AGE_S = 600
"""Short, because a page must not run the client of a server that is long gone."""


class ModuleHandler(RequestHandler):
    """Answers with the module, or 304 if the client has it (RFC 9110, section 13.1.2)."""

    SUPPORTED_METHODS = ("GET", "HEAD")

    def set_default_headers(self) -> None:
        self.set_header("Server", "flasknado")

    def get(self) -> None:
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.set_header("Cache-Control", f"public, max-age={MAX_AGE_S}")
        self.set_header("X-Content-Type-Options", "nosniff")
        # The module is public, and modules of another origin are fetched with CORS.
        self.set_header("Access-Control-Allow-Origin", "*")
        self.set_header("Cross-Origin-Resource-Policy", "cross-origin")
        # Tornado makes the ETag of the body, and answers If-None-Match with 304.
        self.finish(source())

    head = get


@functools.cache
def source() -> bytes:
    """Return the module's text."""
    return MODULE.read_bytes()
