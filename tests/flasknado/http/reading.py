"""What a parser makes of bytes, without sockets: ours, and h11's as an independent reading."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import h11

from flasknado.errors import RequestError
from flasknado.http.limits import Limits
from flasknado.http.message import RequestHead
from flasknado.http.parser import RequestParser

LIMITS = Limits()

_SPACED_EXTENSION = re.compile(rb"\n[0-9A-Fa-f]+[ \t]+;")


@dataclass
class Read:
    """The whole requests that were seen, and the status of the refusal that ended the reading."""

    requests: list[tuple[str, str, bytes]] = field(default_factory=list)
    """Method, target and body."""
    refused: int = 0


class _Sink:
    def __init__(self) -> None:
        self.read = Read()
        self._head: RequestHead | None = None
        self._body = b""

    def request_begun(self, head: RequestHead) -> None:
        self._head, self._body = head, b""

    def request_data(self, data: bytes) -> None:
        self._body += data

    def request_complete(self) -> None:
        assert self._head is not None
        self.read.requests.append((self._head.method, self._head.target, self._body))


def our_reading(pieces: Iterable[bytes]) -> Read:
    """Return what our parser sees; an upgrade is never taken."""
    sink = _Sink()
    parser = RequestParser(sink, LIMITS)
    try:
        for piece in pieces:
            data = piece
            while data:
                size = parser.slice_bytes()
                data = parser.feed(data[:size]) + data[size:]
                parser.holds = False
    except RequestError as error:
        sink.read.refused = error.status
    return sink.read


def h11_reading(data: bytes) -> Read:
    """Return what h11 sees."""
    read = Read()
    connection = _h11_connection(data)
    method, target, body = "", "", b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                method, target, body = event.method.decode(), event.target.decode("latin-1"), b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                read.requests.append((method, target, body))
                connection.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE:
                    return read
                if connection.their_state is not h11.DONE:
                    return read
                # Blank lines before a request are skipped (RFC 9112, section 2.2).
                connection = _h11_connection(connection.trailing_data[0].lstrip(b"\r\n"))
            elif event is h11.PAUSED and connection.their_state is h11.MIGHT_SWITCH_PROTOCOL:
                return read
            else:
                return read
    except h11.RemoteProtocolError as error:
        read.refused = error.error_status_hint
    return read


def _h11_connection(data: bytes) -> h11.Connection:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=10_000_000)
    connection.receive_data(data)
    connection.receive_data(b"")
    return connection


def differs(data: bytes) -> str:
    """Return how our reading of the bytes is less strict than h11's, or an empty string.

    h11 does not keep HTTP/1.0 connections alive, and refuses white space before a chunk
    extension (which RFC 9112, section 7.1.1 allows), so what has either is not compared.
    """
    if b"HTTP/1.0" in data and b"keep-alive" in data.lower():
        return ""
    if _SPACED_EXTENSION.search(data):
        return ""
    ours = our_reading([data]).requests
    theirs = h11_reading(data.lstrip(b"\r\n")).requests
    if ours[: len(theirs)] != theirs[: len(ours)]:
        return f"we see {ours}, h11 sees {theirs}"
    if len(ours) > len(theirs):
        return f"we see {len(ours)} requests, h11 sees {len(theirs)}: {ours[len(theirs) :]}"
    return ""
