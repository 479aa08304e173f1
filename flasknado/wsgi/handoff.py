"""A response that the event loop goes on with after its view, context and thread have ended.

The application puts a `Handoff` into its environ and answers with an iterable that says the
same under any other server. The container calls `close()` and then, if nothing that wrapped
the response has changed its status, type or encoding, leaves the response to the hand-off
instead of iterating. Pure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from flasknado.http.message import RequestHead, ResponseHead
from flasknado.http.reply import Reply

HANDOFF_KEY = "flasknado.handoff"
"""Where the application's environ holds a `Handoff`."""

SERVER_KEY = "flasknado.http_server"
"""Where the environ has the server that takes hand-offs (`flasknado.HTTPServer`)."""


class Handoff(ABC):
    """What goes on with a response, if that is still the one that was registered."""

    @abstractmethod
    def fits(self, head: ResponseHead) -> bool:
        """Return whether it is."""

    @abstractmethod
    def leave(self, reply: Reply, request: RequestHead, head: ResponseHead) -> None:
        """Leave the response to the loop; on the thread that ran the application."""


class ConnectionHandoff(Handoff):
    """Leaves the connection to `take(stream, chunked)`, on the loop's thread.

    That gets it as an `IOStream`, with the head written, and frames the body itself: in chunks,
    or to the end of the connection.
    """

    def __init__(self, content_type: str, take: Callable[[Any, bool], None]) -> None:
        self._content_type = content_type
        self._take = take

    def fits(self, head: ResponseHead) -> bool:
        return head.status == 200 and is_unchanged(head, self._content_type)

    def leave(self, reply: Reply, request: RequestHead, head: ResponseHead) -> None:  # noqa: ARG002
        reply.hand_over(head, self._take)


def is_unchanged(head: ResponseHead, content_type: str) -> bool:
    """Return whether the body of a response is still to be made, and is of the same type."""
    fields = {name.lower(): value for name, value in head.headers}
    return (
        head.has_body
        and head.content_length is None
        and fields.get("content-type") == content_type
        and "content-encoding" not in fields
    )
