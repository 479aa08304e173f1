"""In what our answers differ from those of Werkzeug's server, and why: the whole list.

The battery holds the list to be exact: a difference that is not here fails it, and so
does one that is here and is none any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

ABSENT = "(absent)"
"""What stands for a part that an answer does not have."""

OWN_FIELDS = {
    "date": "each server's own clock",
    "server": "each server's own name",
    "connection": "Werkzeug's server closes after each answer, ours keeps the connection",
    "x-request-id": "ours names each request, so that answer, log and report can be put together",
    "transfer-encoding": "framing, which the answer's reader checks",
    "content-length": "framing; compared where the application gave it",
}
"""The fields that are the servers' own, so that no answer is compared by them."""


class Change(NamedTuple):
    """One part of an answer (see `compare.parts_of`) that differs."""

    part: str
    theirs: str
    ours: str


class Refusal(NamedTuple):
    """Requests that Werkzeug's server takes and ours, or a layer of it, answers with `status`."""

    reason: str
    requests: tuple[str, ...]
    status: int
    layer: str | None = None


class Difference(NamedTuple):
    """Changes in the answers to these requests, with the reason; on one layer or on all."""

    reason: str
    requests: tuple[str, ...]
    changes: tuple[Change, ...]
    layer: str | None = None


EVERYWHERE: tuple[tuple[str, Change], ...] = (
    (
        "a whole body lies before the application, so it need not count (PEP 3333 extension "
        "of Werkzeug, gunicorn and others)",
        Change("body environ wsgi.input_terminated", "None", "True"),
    ),
    (
        "CGI variables are strings (PEP 3333, `environ` Variables)",
        Change("body environ REMOTE_PORT", "CLIENT-PORT", "'CLIENT-PORT'"),
    ),
)
"""Wherever an answer of Werkzeug's server has such a part, ours has the other."""


def _environ(keys: tuple[str, ...], theirs: str, ours: str) -> tuple[Change, ...]:
    return tuple(Change(f"body environ {key}", repr(theirs), repr(ours)) for key in keys)


def _announced(length: int) -> tuple[Change, ...]:
    return (
        Change("body content_length", "null", str(length)),
        Change("body environ CONTENT_LENGTH", "None", f"'{length}'"),
        Change("body headers Content-Length", ABSENT, str(length)),
        Change("body headers Transfer-Encoding", "chunked", ABSENT),
    )


_TARGET_KEYS = ("PATH_INFO", "RAW_URI", "REQUEST_URI")
_CHUNKED = (
    "a chunked body has arrived whole before the application is called, so it is handed over "
    "with its length and without a transfer coding (RFC 9112, section 7.1.3)"
)

DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "the bytes that were asked for reach the application; Werkzeug's server replaces those "
        "that are not UTF-8 by U+FFFD, as Flask then does itself",
        ("a path of broken UTF-8",),
        _environ(("PATH_INFO",), "/mirror/\xef\xbf\xbd\xef\xbf\xbd", "/mirror/\xff\xc3"),
    ),
    Difference(
        "Python's http.server makes one slash of several at the start; what was asked for "
        "reaches the application here, and Flask makes one of them itself",
        ("slashes at the start",),
        _environ(_TARGET_KEYS, "/mirror/a", "//mirror/a"),
    ),
    Difference(
        "Cookie headers are joined by a semicolon (RFC 9113, section 8.2.3): a comma would "
        "make them part of a value",
        ("two Cookie headers",),
        (
            Change(
                "body cookies",
                '[["a", "1"], ["b", "2,c=3"]]',
                '[["a", "1"], ["b", "2"], ["c", "3"]]',
            ),
            Change("body headers Cookie", "a=1; b=2,c=3", "a=1; b=2; c=3"),
        ),
    ),
    Difference(
        "white space after a value is not part of it (RFC 9110, section 5.5); Python's "
        "http.server keeps it",
        ("white space around values",),
        (Change("body headers X-Space", "a  b \t ", "a  b"),),
    ),
    Difference(
        "fields of one name are one list, whatever their name (RFC 9110, section 5.3); "
        "Werkzeug's server takes the last Content-Type alone, and neither reading is a valid type",
        ("two types",),
        (
            Change(
                "body environ CONTENT_TYPE",
                "'text/plain; charset=utf-8'",
                "'application/x-www-form-urlencoded,text/plain; charset=utf-8'",
            ),
            Change(
                "body headers Content-Type",
                "text/plain; charset=utf-8",
                "application/x-www-form-urlencoded,text/plain; charset=utf-8",
            ),
            Change("body mimetype", "text/plain", "application/x-www-form-urlencoded,text/plain"),
        ),
    ),
    Difference(_CHUNKED, ("a chunked body",), _announced(13)),
    Difference(_CHUNKED, ("a chunked body of nothing",), _announced(0)),
    Difference(_CHUNKED, ("a chunked form",), _announced(7)),
    Difference(_CHUNKED, ("a chunked JSON body",), _announced(8)),
    Difference(_CHUNKED, ("a chunked file",), _announced(120)),
    Difference(
        "the length of a chunked body is known, so Flask refuses one that is too large; "
        "under Werkzeug's server it hands the view the beginning as if that were all",
        ("a chunked body larger than the view takes",),
        (
            Change("status", "HTTP/1.1 200 OK", "HTTP/1.1 413 REQUEST ENTITY TOO LARGE"),
            Change(
                "body",
                "10 bytes",
                "<!doctype html>\n<html lang=en>\n<title>413 Request Entity Too Large</title>\n"
                "<h1>Request Entity Too Large</h1>\n"
                "<p>The data value transmitted exceeds the capacity limit.</p>\n",
            ),
        ),
    ),
    Difference(
        "the answer to HEAD has the length of that to GET, which differs as `EVERYWHERE` says",
        ("HEAD /mirror/a?b=c",),
        (Change("length", "1654", "1656"),),
    ),
    Difference(
        "one 100 Continue is enough; both http.server and Werkzeug send one",
        ("an awaited 100-continue",),
        (
            Change(
                "interim", "HTTP/1.1 100 Continue HTTP/1.1 100 Continue", "HTTP/1.1 100 Continue"
            ),
        ),
        layer="llhttp",
    ),
    Difference(
        "one 100 Continue is enough, and Tornado writes its reason in parentheses",
        ("an awaited 100-continue",),
        (
            Change(
                "interim", "HTTP/1.1 100 Continue HTTP/1.1 100 Continue", "HTTP/1.1 100 (Continue)"
            ),
        ),
        layer="tornado",
    ),
)


REFUSALS: tuple[Refusal, ...] = (
    Refusal(
        "a target is ASCII (RFC 3986, section 2)",
        ("a path of raw UTF-8", "a path of raw latin-1", "a query of raw UTF-8"),
        400,
    ),
    Refusal(
        "an application may not send fields about the connection, which is the server's "
        "(PEP 3333, Other HTTP Features); it is told so in the log",
        ("as hop-by-hop",),
        500,
    ),
)


def _grouped_capitals(names: str) -> str:
    """Return field names as Tornado's `HTTPHeaders` writes them: in its case, equals together."""
    capitals = ["-".join(word.capitalize() for word in name.split("-")) for name in names.split()]
    return " ".join(name for first in dict.fromkeys(capitals) for name in capitals if name == first)


def _in_utf8(status_line: str) -> str:
    return status_line.encode().decode("latin-1")


REWRITES: dict[str, dict[str, Callable[[str], str]]] = {
    "tornado": {"fields": _grouped_capitals, "status": _in_utf8},
}
"""How the stock layer writes any answer, by part: the case and order of field names, which are
the same to every recipient (RFC 9110, sections 5.1 and 5.3), and the bytes of a reason."""
