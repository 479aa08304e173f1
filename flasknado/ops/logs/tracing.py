"""The trace that a request or a log record belongs to (W3C Trace Context).

`traceparent` is version, trace id, parent id and flags: `00-4bf9...4736-00f0...02b7-01`.
"""

from __future__ import annotations

import re
import sys
from typing import Any

TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


def checked(value: str) -> str:
    """Return a value of the field `traceparent`; empty if it is malformed."""
    return value if TRACEPARENT.fullmatch(value) else ""


def current() -> str:
    """Return the `traceparent` of what runs now; empty if it belongs to no trace. Any thread.

    That of OpenTelemetry's span, where an application uses it; else what the client sent, in
    a view or a function that `in_flask` runs.
    """
    return _of_the_span() or _of_the_request()


def _of_the_span() -> str:
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _of_the_request() -> str:
    flask: Any = sys.modules.get("flask")
    if flask is None or not flask.has_request_context():
        return ""
    return checked(flask.request.environ.get("HTTP_TRACEPARENT", ""))
