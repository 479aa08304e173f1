"""The `Date` field, written once a second instead of once a response."""

from __future__ import annotations

import time
from email.utils import formatdate


class DateField:
    """The field of one second, as text and as it goes over the wire. Immutable."""

    __slots__ = ("line", "pair", "second")

    def __init__(self, second: int) -> None:
        text = formatdate(second, usegmt=True) if second else ""
        self.second = second
        self.pair = ("Date", text)
        self.line = f"Date: {text}\r\n".encode()


_written = DateField(0)


def date_field() -> DateField:
    """Return the field of the present time (RFC 9110, section 5.6.7). Any thread."""
    global _written
    second = int(time.time())
    # One object, replaced whole: a thread sees the second and its text together.
    written = _written
    if written.second != second:
        written = _written = DateField(second)
    return written


def http_date() -> str:
    """Return the present time as an IMF-fixdate. Any thread."""
    return date_field().pair[1]
