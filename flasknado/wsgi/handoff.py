"""A response that the event loop goes on with after its view, context and thread have ended.

The application puts a `Handoff` into its environ and answers with an iterable that says the
same under any other server. The container calls `close()` and then, if nothing that wrapped
the response has changed its status, type or encoding, leaves the connection to the hand-off
instead of iterating. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from flasknado.http.message import ResponseHead

HANDOFF_KEY = "flasknado.handoff"
"""Where the application's environ holds a `Handoff`."""

SERVER_KEY = "flasknado.http_server"
"""Where the environ has the server that takes hand-offs (`flasknado.HTTPServer`)."""


class Handoff(NamedTuple):
    """What is to be done with the connection, on the loop's thread.

    `take(stream, chunked)` gets the connection as an `IOStream`, with the head written, and
    frames the body itself: in chunks, or to the end of the connection.
    """

    content_type: str
    take: Callable[[Any, bool], None]

    def fits(self, head: ResponseHead) -> bool:
        """Return whether a response is still the one that was registered."""
        fields = {name.lower(): value for name, value in head.headers}
        return (
            head.status == 200
            and head.has_body
            and head.content_length is None
            and fields.get("content-type") == self.content_type
            and "content-encoding" not in fields
        )
