"""The neutral types between connections and applications: request head, body, response head.

A connection layer makes a `RequestHead` and a `Body`, hands them with a `Reply`
(`flasknado.http.reply`) to a `Container`, and writes what comes back. Nothing here
knows Tornado, asyncio or WSGI.
"""

from __future__ import annotations

import http
from typing import Any, BinaryIO, Final

from flasknado.errors import RequestError
from flasknado.http.date import date_field
from flasknado.http.request_id import REQUEST_ID_FIELD

HeaderField = tuple[bytes, bytes]
"""A header field as received: name (any case) and value, without surrounding white space."""

Address = tuple[str, int]
"""IP address and port; an end of a Unix socket has none."""

SERVER_SOFTWARE: Final = "flasknado"
"""The `Server` field of every response that names no other; without a version on purpose."""

NO_CONTENT_STATUSES: Final = frozenset((204, 304))
"""Final statuses whose responses never carry content (RFC 9110, sections 15.3.5 and 15.4.5)."""

REASON_PHRASES: Final[dict[int, str]] = {status.value: status.phrase for status in http.HTTPStatus}


class Route:
    """A route of the native half, as far as the connection layers know it; immutable."""

    __slots__ = ("label",)

    def __init__(self, label: str) -> None:
        self.label = label
        """What people read: the pattern without the marks of a regular expression's end."""


class RequestHead:
    """The head of one request, validated (`flasknado.http.head.parse_head`).

    Immutable by convention once a connection has handed it on, so it may be read
    from any thread.
    """

    __slots__ = (
        "chunked",
        "client",
        "content_length",
        "expect_continue",
        "headers",
        "host",
        "keep_alive",
        "method",
        "native",
        "path",
        "prefix",
        "query",
        "request_id",
        "response_fields",
        "route",
        "scheme",
        "server",
        "target",
        "tls",
        "upgrade",
        "version",
    )

    def __init__(
        self,
        method: str,
        target: str,
        version: str,
        headers: list[HeaderField],
        *,
        client: Address | None = None,
        server: Address | None = None,
        scheme: str = "http",
    ) -> None:
        self.method = method
        self.target = target
        """The request-target as received, latin-1 decoded."""
        self.version = version
        """`1.0` or `1.1`."""
        self.headers = headers
        self.client = client
        """Who asks: the peer, or what a trusted proxy says of it."""
        self.server = server
        """The local address of the connection."""
        self.scheme = scheme
        self.path = target
        """The path of the target, percent-encoded where that makes a difference."""
        self.prefix = ""
        """The path prefix under which a trusted proxy serves what it has taken it from."""
        self.query = ""
        """The query of the target, without its question mark."""
        self.host: str | None = None
        """The authority asked for: `Host`, or that of an absolute-form target."""
        self.content_length: int | None = None
        self.chunked = False
        self.keep_alive = True
        self.expect_continue = False
        self.upgrade = False
        """True if `Connection: upgrade` was sent with an `Upgrade` field."""
        self.request_id: str | None = None
        """What a trusted proxy, or this server, calls the request."""
        self.response_fields: list[tuple[str, str]] | None = None
        """The fields of its response, once that has begun."""
        self.native: Route | None = None
        """The native route that the path matches, once the request has been admitted."""
        self.route: str | None = None
        """The label of that route, or the rule that Flask matched, once its response has begun."""
        self.tls: dict[str, Any] | None = None
        """Environ variables of the client's certificate, where one is asked for."""

    def __repr__(self) -> str:
        return f"<RequestHead {self.method} {self.target} HTTP/{self.version}>"


class Body:
    """The whole body of a request: a readable binary file at its start, and its size."""

    __slots__ = ("length_bytes", "stream")

    def __init__(self, stream: BinaryIO, length_bytes: int) -> None:
        self.stream = stream
        self.length_bytes = length_bytes


def as_address(address: object) -> Address | None:
    """Return an IPv4 or IPv6 socket address as host and port; `None` for a Unix socket."""
    if isinstance(address, tuple) and len(address) >= 2:
        return str(address[0]), int(address[1])
    return None


class ResponseHead:
    """Status, reason and header fields of one final response, ready but for the framing.

    Names and values are latin-1 text without CR, LF or other control characters; `Date`
    and `Server` are among them, and so is `Content-Length` if `content_length` is known.
    Where it is not (`None`) the connection layer chunks the body or ends it by closing,
    and it alone writes `Transfer-Encoding` and `Connection`. With `has_body` false (HEAD,
    204, 304) no body bytes follow, whatever the length says.
    """

    __slots__ = ("content_length", "has_body", "headers", "lines", "reason", "status")

    def __init__(
        self,
        status: int,
        reason: str,
        headers: list[tuple[str, str]],
        content_length: int | None,
        has_body: bool = True,
        lines: list[bytes] | None = None,
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.content_length = content_length
        self.has_body = has_body
        if lines is None:
            lines = [status_line(status, reason)]
            lines += [field_line(name, value) for name, value in headers]
        self.lines = lines
        """The status line and the fields as they go over the wire."""

    @property
    def is_event_stream(self) -> bool:
        """Whether the body is server-sent events: it has no end to wait for."""
        for name, value in self.headers:
            if name.lower() == "content-type" and value.lower().startswith("text/event-stream"):
                return True
        return False

    def announce_length(self, length_bytes: int) -> None:
        """Add `Content-Length` to a head that has none, before it is sent."""
        text = str(length_bytes)
        self.content_length = length_bytes
        self.headers.append(("Content-Length", text))
        self.lines.append(field_line("Content-Length", text))


class Finished:
    """A request whose response has ended; immutable by convention.

    head: its head, or `None` if that could not be read. status: 499 if the client left before
    a response had begun, 408 if it did not take the response in time. sent_bytes: of the
    response, with its head. duration_s: from the request's head to the end of its response.
    half: `ordinary`, `native` or `refused`.
    """

    __slots__ = ("duration_s", "ended_at", "half", "head", "peer", "route", "sent_bytes", "status")

    def __init__(
        self, head: RequestHead | None, status: int, sent_bytes: int, duration_s: float, half: str
    ) -> None:
        self.head = head
        self.status = status
        self.sent_bytes = sent_bytes
        self.duration_s = duration_s
        self.half = half
        self.route = head.route if head is not None else None
        """Flask's rule or the native pattern that served it; `None` if none matched."""
        self.peer: Address | None = None
        """Who is at the other end of a connection that has answered by itself."""
        self.ended_at = 0.0
        """When it ended, in seconds of `time.time`, once it is to be logged."""


def status_line(status: int, reason: str) -> bytes:
    """Return the first line of a response."""
    return f"HTTP/1.1 {status} {reason}\r\n".encode("latin-1")


def field_line(name: str, value: str) -> bytes:
    """Return one header field as it goes over the wire."""
    return f"{name}: {value}\r\n".encode("latin-1")


def plain_response(
    head: RequestHead | None, status: int, message: str, headers: tuple[tuple[str, str], ...] = ()
) -> tuple[ResponseHead, bytes]:
    """Return a small `text/plain` response of the server's own, for errors.

    `head` is the request's, if it could be read. May be called on any thread.
    """
    body = (message + "\n").encode()
    fields = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        *headers,
        ("Server", SERVER_SOFTWARE),
        date_field().pair,
    ]
    if head is not None and head.request_id is not None:
        fields.append((REQUEST_ID_FIELD, head.request_id))
    has_body = head is None or head.method != "HEAD"
    reason = REASON_PHRASES.get(status, "")
    return ResponseHead(status, reason, fields, len(body), has_body), body if has_body else b""


def error_response(head: RequestHead | None, error: RequestError) -> tuple[ResponseHead, bytes]:
    """Return the response that refuses a request for `error`'s reason."""
    return plain_response(head, error.status, str(error), error.headers)
