"""`GET live.js`: the browser's client, a module that any page may import."""

from __future__ import annotations

from flasknado.live.endpoints.base import LiveHandler
from flasknado.live.javascript import HEADERS, source


class ModuleHandler(LiveHandler):
    """Answers with the module, or 304 if the client has it (RFC 9110, section 13.1.2)."""

    def cors_headers(self) -> dict[str, str]:
        """Let pages of every origin read it: modules of another origin are fetched with CORS."""
        return {"Access-Control-Allow-Origin": "*"}

    def get(self) -> None:
        for name, value in HEADERS.items():
            self.set_header(name, value)
        # Tornado makes the ETag of the body, and answers If-None-Match with 304.
        self.finish(source(self.state.options.heartbeat_s))

    head = get
