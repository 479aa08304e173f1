"""The `Date` field, written once a second instead of once a response."""

from __future__ import annotations

import time
from typing import Final
from wsgiref.handlers import format_date_time


class DateField:
    """The field of one second, as text and as it goes over the wire. Immutable."""

    __slots__ = ("line", "pair", "second")

    def __init__(self, second: int) -> None:
        text = format_date_time(second)
        self.second = second
        self.pair = ("Date", text)
        self.line = f"Date: {text}\r\n".encode()


class Clock:
    """Holds the field of the present second: one object, replaced whole, for all threads."""

    def __init__(self) -> None:
        self.field = DateField(0)


_seconds: Final = time.time
CLOCK: Final = Clock()
"""For those who look whether its field is of the present second before they call."""


def date_field() -> DateField:
    """Return the field of the present time (RFC 9110, section 5.6.7). Any thread."""
    second = int(_seconds())
    field = CLOCK.field
    if field.second != second:
        field = CLOCK.field = DateField(second)
    return field
