"""Names for requests, so that a log line, a response and a report can be put together."""

from __future__ import annotations

import itertools
import os
import re

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
