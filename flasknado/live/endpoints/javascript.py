"""`GET live.js`: the browser's client, a module that any page may import."""

from __future__ import annotations

import functools
from pathlib import Path

from flasknado.live.endpoints.base import LiveHandler

MODULE = Path(__file__).parents[1] / "static" / "live.js"
HEARTBEAT = b"heartbeatMs: 15_000,"
"""How often the server writes at least, as the module has it."""
MAX_AGE_S = 600
"""Short, because a page must not run the client of a server that is long gone."""


class ModuleHandler(LiveHandler):
    """Answers with the module, or 304 if the client has it (RFC 9110, section 13.1.2)."""

    def cors_headers(self) -> dict[str, str]:
        """Let pages of every origin read it: modules of another origin are fetched with CORS."""
        return {"Access-Control-Allow-Origin": "*"}

    def get(self) -> None:
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.set_header("Cache-Control", f"public, max-age={MAX_AGE_S}")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cross-Origin-Resource-Policy", "cross-origin")
        # Tornado makes the ETag of the body, and answers If-None-Match with 304.
        self.finish(source(self.state.options.heartbeat_s))

    head = get


@functools.lru_cache(maxsize=8)
def source(heartbeat_s: float) -> bytes:
    """Return the module's text, with the heartbeat that this server keeps to."""
    told = f"heartbeatMs: {round(heartbeat_s * 1000)},".encode()
    return MODULE.read_bytes().replace(HEARTBEAT, told, 1)
