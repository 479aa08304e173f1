"""Names for requests, so that a log line, a response and a report can be put together."""

from __future__ import annotations

import os
import re
from contextvars import ContextVar
from typing import Final

REQUEST_ID_FIELD: Final = "X-Request-ID"
"""The field that tells the client, and that a trusted proxy may choose the id by."""

current_request_id: Final[ContextVar[str | None]] = ContextVar("flasknado_request_id", default=None)
"""The id of the request that the running code serves: a view's, or a native handler's."""

_ACCEPTED: Final = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}\Z")


_LAST_DIGITS: Final = tuple(f"{number:02x}" for number in range(256))


class RequestIds:
    """Request ids of one process: random prefix, rising number. Belongs to one thread."""

    __slots__ = ("_beginning", "_last", "_prefix", "_rounds")

    def __init__(self) -> None:
        self._prefix = os.urandom(6).hex()
        self._rounds = 0
        self._last = 0
        self._beginning = f"{self._prefix}-0"

    def new(self) -> str:
        """Return an id that no other request of any process has."""
        # Most numbers differ from the last in two digits, and formatting is slow.
        self._last += 1
        if self._last == len(_LAST_DIGITS):
            self._last = 0
            self._rounds += 1
            self._beginning = f"{self._prefix}-{self._rounds:x}"
        return self._beginning + _LAST_DIGITS[self._last]


def accepted_request_id(text: str) -> str | None:
    """Return a proxy's request id if it is safe to repeat in logs and headers, else `None`."""
    return text if _ACCEPTED.match(text) else None
