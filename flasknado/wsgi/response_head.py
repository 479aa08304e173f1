"""What an application gives to `start_response` (PEP 3333), checked and encoded. Pure.

Most responses repeat a few statuses and fields, and what was found valid needs no second
look: it is kept with its line on the wire. What is kept is bounded in number and in length,
and holds no cookies.
"""

from __future__ import annotations

import re
import time
from typing import Final

from flasknado.errors import FlasknadoError
from flasknado.http.date import CLOCK, date_field
from flasknado.http.message import (
    NO_CONTENT_STATUSES,
    REASON_PHRASES,
    SERVER_SOFTWARE,
    ResponseHead,
    field_line,
    status_line,
)
from flasknado.http.request_id import REQUEST_ID_FIELD

_STATUS: Final = re.compile(r"([2-9][0-9][0-9])(?: ([^\x00-\x08\x0a-\x1f\x7f]*))?\Z")
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_BAD_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

_KNOWN_STATUSES_LIMIT: Final = 256
_KNOWN_LIMIT: Final = 1024
_KNOWN_LENGTH: Final = 128

HOP_BY_HOP: Final = frozenset(
    (
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Fields about one connection, which is the server's to describe (PEP 3333; RFC 9110, 7.6.1).

RFC 2616 counted `Proxy-Authenticate` among them; it belongs to 407 today (RFC 9110, 15.5.8).
"""

# What is to be done with a field beside sending it.
_seconds: Final = time.time

_NOTHING: Final = 0
_LENGTH: Final = 1
_DATE: Final = 2
_SERVER: Final = 3
_REQUEST_ID: Final = 4
_DROP: Final = 5
_CONTENT_TYPE: Final = 6
_EVENT_STREAM: Final = 7
_BUFFERING: Final = 8

_KINDS: Final = {
    "connection": _DROP,
    "content-length": _LENGTH,
    "content-type": _CONTENT_TYPE,
    "date": _DATE,
    "keep-alive": _DROP,
    "server": _SERVER,
    "transfer-encoding": _DROP,
    "x-accel-buffering": _BUFFERING,
    "x-request-id": _REQUEST_ID,
}


class ApplicationError(FlasknadoError):
    """The application broke a rule of PEP 3333; the message names the rule."""


class _Status:
    """A status that was found valid."""

    __slots__ = ("code", "has_body", "line", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        self.has_body = code not in NO_CONTENT_STATUSES
        self.line = status_line(code, reason)


class _Field:
    """A header field that was found valid; `length` is that of `Content-Length`."""

    __slots__ = ("kind", "length", "line", "pair")

    def __init__(self, name: str, value: str, kind: int) -> None:
        self.pair = (name, value)
        self.kind = kind
        self.length = int(value) if kind == _LENGTH else 0
        self.line = field_line(name, value)


_known_statuses: Final[dict[str, _Status]] = {}
_known_fields: Final[dict[object, _Field]] = {}
_server: Final = _Field("Server", SERVER_SOFTWARE, _SERVER)
_unbuffered: Final = _Field("X-Accel-Buffering", "no", _BUFFERING)


def checked_head(
    status: object, headers: object, method: str, request_id: str | None = None
) -> ResponseHead:
    """Return the head of a response from what an application gave to `start_response`.

    The application's list is copied, never changed. It is given the request's id, `Date`
    and `Server`, and an event stream `X-Accel-Buffering: no`, unless the application has set
    them. `Connection: keep-alive`, `Transfer-Encoding: chunked` and their like are dropped: the
    connection is the server's. Raises `ApplicationError` for a status,
    a field name, a value or a length that may not reach the wire.
    """
    if not isinstance(status, str):
        raise ApplicationError(f"the status must be a str such as '200 OK', not {status!r}")
    known_status = _known_statuses.get(status)
    if known_status is None:
        known_status = _checked_status(status)
    if not isinstance(headers, list):
        raise ApplicationError(f"the headers must be a list of pairs, not {type(headers).__name__}")
    fields: list[tuple[str, str]] = []
    lines = [known_status.line]
    content_length: int | None = None
    has_date = has_server = False
    is_event_stream = has_buffering = False
    for pair in headers:
        try:
            field = _known_fields.get(pair)
        except TypeError:  # a list, or a pair that holds one
            field = None
        if field is None:
            field = _checked_field(pair)
        kind = field.kind
        if kind == _NOTHING:
            pass
        elif kind == _LENGTH:
            if content_length is not None:
                raise ApplicationError(f"Content-Length must be one number, not {field.pair[1]!r}")
            content_length = field.length
            if known_status.code == 204:
                continue
        elif kind == _DATE:
            has_date = True
        elif kind == _SERVER:
            has_server = True
        elif kind == _REQUEST_ID:
            request_id = None
        elif kind == _EVENT_STREAM:
            is_event_stream = True
        elif kind == _BUFFERING:
            has_buffering = True
        else:
            continue  # Connection, Keep-Alive: a wish for what the server does by itself
        fields.append(field.pair)
        lines.append(field.line)
    if not has_server:
        fields.append(_server.pair)
        lines.append(_server.line)
    if not has_date:
        date = CLOCK.field
        if date.second != int(_seconds()):
            date = date_field()
        fields.append(date.pair)
        lines.append(date.line)
    if is_event_stream and not has_buffering:
        # Else nginx, and what is like it, holds the events back until a buffer is full.
        fields.append(_unbuffered.pair)
        lines.append(_unbuffered.line)
    if request_id is not None:
        fields.append((REQUEST_ID_FIELD, request_id))
        lines.append(field_line(REQUEST_ID_FIELD, request_id))
    return ResponseHead(
        known_status.code,
        known_status.reason,
        fields,
        content_length,
        known_status.has_body and method != "HEAD",
        lines,
    )


def _checked_status(status: str) -> _Status:
    match = _STATUS.match(status)
    if match is None or not _is_latin_1(status):
        raise ApplicationError(f"the status must be like '200 OK', not {status!r}")
    code = int(match[1])
    checked = _Status(code, match[2] or REASON_PHRASES.get(code, ""))
    if len(status) <= _KNOWN_LENGTH:
        if len(_known_statuses) >= _KNOWN_STATUSES_LIMIT:
            _known_statuses.clear()
        _known_statuses[str(status)] = checked
    return checked


def _checked_field(field: object) -> _Field:
    if not isinstance(field, tuple) or len(field) != 2:
        raise ApplicationError(f"a header must be a tuple of name and value, not {field!r}")
    name, value = field
    if not isinstance(name, str) or _NAME.match(name) is None:
        raise ApplicationError(f"a header name must be a token (RFC 9110, 5.6.2), not {name!r}")
    if not isinstance(value, str):
        raise ApplicationError(f"the value of {name} must be a str, not {value!r}")
    if _BAD_VALUE.search(value) is not None:
        raise ApplicationError(f"the value of {name} has a control character: {value!r}")
    if not _is_latin_1(value):
        raise ApplicationError(f"the value of {name} is not latin-1 text: {value!r}")
    lower = name.lower()
    if lower in HOP_BY_HOP and not _is_harmless(lower, value):
        raise ApplicationError(f"{name} is set by the server, not by the application")
    kind = _KINDS.get(lower, _NOTHING)
    if kind == _LENGTH and not (value.isascii() and value.isdecimal()):
        raise ApplicationError(f"Content-Length must be one number, not {value!r}")
    if kind == _CONTENT_TYPE:
        media_type = value.partition(";")[0].strip().lower()
        kind = _EVENT_STREAM if media_type == "text/event-stream" else _NOTHING
    checked = _Field(str(name), str(value), kind)
    if len(name) + len(value) <= _KNOWN_LENGTH and lower != "set-cookie":
        if len(_known_fields) >= _KNOWN_LIMIT:
            _known_fields.clear()  # what is common comes again
        _known_fields[checked.pair] = checked
    return checked


def _is_harmless(lower: str, value: str) -> bool:
    """Whether a field about the connection may be dropped: many event streams ask to be kept."""
    return (
        lower == "keep-alive"
        or (lower == "connection" and value.lower() in ("close", "keep-alive"))
        or (lower == "transfer-encoding" and value.strip().lower() == "chunked")
    )


def _is_latin_1(text: str) -> bool:
    return text.isascii() or all(ord(character) < 256 for character in text)
