"""Names for requests, so that a log line, a response and a report can be put together."""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import Final

REQUEST_ID_FIELD: Final = "X-Request-ID"
"""The field that tells the client, and that a trusted proxy may choose the id by."""

current_request_id: Final[ContextVar[str | None]] = ContextVar("flasknado_request_id", default=None)
"""The id of the request that the running code serves: a view's, or a native handler's."""

_ACCEPTED: Final = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}\Z")


def accepted_request_id(text: str) -> str | None:
    """Return a proxy's request id if it is safe to repeat in logs and headers, else `None`."""
    return text if _ACCEPTED.match(text) else None
