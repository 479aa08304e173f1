"""`GET live.js`: the browser's client, a module that any page may import."""

from __future__ import annotations

from flasknado.live.endpoints.base import LiveHandler
from flasknado.live.javascript import answer_to


class ModuleHandler(LiveHandler):
    """Answers with the module, or 304 if the client has it (RFC 9110, section 13.1.2)."""

    def cors_headers(self) -> dict[str, str]:
        """Let pages of every origin read it: modules of another origin are fetched with CORS."""
        return {"Access-Control-Allow-Origin": "*"}

    def get(self) -> None:
        module, fields = answer_to(
            self.request.headers.get("Accept-Encoding", ""), self.state.options.heartbeat_s
        )
        for name, value in fields.items():
            self.set_header(name, value)
        # Tornado makes the ETag of the body, another one for each coding (RFC 9110, section 8.8.3),
        # and answers If-None-Match with 304.
        self.finish(module)

    head = get
