"""The `Date` field, written once a second instead of once a response."""

from __future__ import annotations

import time
from email.utils import formatdate

_written = (0, "")


def http_date() -> str:
    """Return the present time as an IMF-fixdate (RFC 9110, section 5.6.7). Any thread."""
    global _written
    second = int(time.time())
    # One tuple, replaced whole: a thread sees the second and its text together.
    written = _written
    if written[0] != second:
        written = _written = (second, formatdate(second, usegmt=True))
    return written[1]
