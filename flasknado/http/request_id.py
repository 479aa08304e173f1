"""Names for requests, so that a log line, a response and a report can be put together."""

from __future__ import annotations

import itertools
import os
import re
from contextvars import ContextVar

REQUEST_ID_FIELD = "X-Request-ID"
"""The field that tells the client, and that a trusted proxy may choose the id by."""

current_request_id: ContextVar[str | None] = ContextVar("flasknado_request_id", default=None)
"""The id of the request that the running code serves: a view's, or a native handler's."""

_ACCEPTED = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}\Z")


class RequestIds:
    """Request ids of one process: random prefix, rising number. May be used on any thread."""

    __slots__ = ("_numbers", "_prefix")

    def __init__(self) -> None:
        self._prefix = os.urandom(6).hex()
        self._numbers = itertools.count(1)

    def new(self) -> str:
        """Return an id that no other request of any process has."""
        return f"{self._prefix}-{next(self._numbers):x}"


def accepted_request_id(text: str) -> str | None:
    """Return a proxy's request id if it is safe to repeat in logs and headers, else `None`."""
    return text if _ACCEPTED.match(text) else None
