"""A native request that a plain function serves, where Tornado's handlers would cost too much.

Thousands of clients connect after a restart, and thousands of polls are held: for them there is
no request object, no handler, no task and no context of Tornado's. A handler class that has an
attribute `serve_direct`, a function of the server's settings and a `RequestHead`, is asked for
each request of its route on the llhttp layer. It returns what is to be called with the
`DirectExchange` once the request is whole, or `None` to leave the request to the handler, which
serves everything on Tornado's own connections.

Only for requests without a body. Everything belongs to the loop's thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from flasknado.http.body_limits import body_too_large
from flasknado.http.counters import NATIVE
from flasknado.http.date import date_field
from flasknado.http.exchange import Exchange
from flasknado.http.message import REASON_PHRASES, SERVER_SOFTWARE, RequestHead
from flasknado.http.request_id import REQUEST_ID_FIELD
from flasknado.native.iostream import TransportStream

if TYPE_CHECKING:
    from flasknado.http.connection import Connection

access_log: Final = logging.getLogger("tornado.access")

Serve = Callable[[Any], None]
"""Serves a request; called with its `DirectExchange`."""


SHARED_FIELDS: Final = 1024
SHARED_FIELD_BYTES: Final = 256
"""So many header fields are kept once for all requests that are parked, if they are so small."""
_shared_fields: Final[dict[Any, Any]] = {}
"""Compiled code would make a new tuple of each that it knows to be one."""


class Parked(Protocol):
    """What waits for its response."""

    def gone(self) -> None:
        """The client has gone."""


def _shared(field: Any) -> Any:
    """Return a field as it is kept once: most clients send the same."""
    known = _shared_fields.get(field)
    if known is not None:
        return known
    small = len(field[0]) + len(field[1]) <= SHARED_FIELD_BYTES
    if small and len(_shared_fields) < SHARED_FIELDS:
        _shared_fields[field] = field
    return field


def no_line(handler: Any) -> None:
    """Have Tornado log no line of its own: it would show the tokens in query strings."""


def may_serve(head: RequestHead, settings: dict[str, Any]) -> bool:
    """Return whether a request is so plain that nothing is lost without Tornado."""
    return (
        head.version == "1.1"
        and not head.content_length
        and not (head.chunked or head.expect_continue)
        and settings.get("log_function") in (None, no_line)
    )


class DirectExchange(Exchange):
    """One request without a body, and the response to it; `serve` is called once it is whole."""

    __slots__ = ("_connection", "_logs", "_parked", "_serve")

    def __init__(
        self, connection: Connection, head: RequestHead, serve: Serve, settings: dict[str, Any]
    ) -> None:
        super().__init__(head, NATIVE, True, 0)
        self._connection = connection
        self._serve: Serve | None = serve
        self._logs = settings.get("log_function") is None and access_log.isEnabledFor(logging.INFO)
        """Whether to write a line as Tornado would."""
        self._parked: Parked | None = None
        if self._logs:
            self.started_at = time.monotonic()

    # What the connection calls.

    def begin(self) -> None:
        if self.complete:
            self._begin()

    def end(self) -> None:
        self.complete = True
        if self._connection.active is self:
            self._begin()

    def _begin(self) -> None:
        serve, self._serve = self._serve, None
        if serve is not None:
            serve(self)

    def receive(self, data: bytes) -> None:
        raise body_too_large(0, len(data))

    def stuffed(self) -> bool:
        return False

    def needs_client(self) -> bool:
        return True

    def drop(self) -> bool:
        self.lost()
        return not self.status

    def drained(self) -> None:
        pass

    def lost(self) -> None:
        self._serve = None
        parked, self._parked = self._parked, None
        if parked is not None:
            parked.gone()

    # The response.

    def park(self, parked: Parked) -> None:
        """Hold little until the response; `parked` is told if the client goes before it."""
        self._parked = parked
        head = self.head
        fields: Any = head.headers
        head.headers = [_shared(field) for field in fields]
        self._connection.rest()

    def respond(self, status: int, fields: list[tuple[str, str]], body: bytes = b"") -> None:
        """Give the response whole; does nothing if the client has gone.

        Names and values are latin-1 text without CR and LF. `Content-Length`, `Date`, `Server`
        and what is about the connection is added.
        """
        connection = self._connection
        self._parked = None
        if not self._can_be_answered():
            return
        keep_alive = self.head.keep_alive and connection.keeps_alive
        fields.append(("Content-Length", str(len(body))))
        if not keep_alive:
            fields.append(("Connection", "close"))
        self._write(status, fields, body)
        connection.finished(self, keep_alive)

    def switch(self, fields: list[tuple[str, str]], first: bytes = b"") -> TransportStream | None:
        """Answer 101 with bytes of the new protocol, and return the connection as a stream.

        Returns `None` if the client has gone.
        """
        connection = self._connection
        if not self._can_be_answered():
            return None
        self._write(101, fields, first)
        stream = TransportStream.over(connection)
        connection.detach(stream)
        if not type(connection.transport).__module__.startswith("uvloop"):
            stream.set_nodelay(True)  # uvloop has done so
        return stream

    def _can_be_answered(self) -> bool:
        connection = self._connection
        return (
            connection.active is self
            and not connection.gone
            and not connection.transport.is_closing()
        )

    def _write(self, status: int, fields: list[tuple[str, str]], body: bytes) -> None:
        head = self.head
        fields.append(("Server", SERVER_SOFTWARE))
        fields.append(date_field().pair)
        if head.request_id is not None:
            fields.append((REQUEST_ID_FIELD, head.request_id))
        head.response_fields = fields
        lines = [f"HTTP/1.1 {status} {REASON_PHRASES[status]}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in fields]
        lines.append("\r\n")
        data = "".join(lines).encode("latin-1") + body
        self.status = status
        self.sent_bytes += len(data)
        self._connection.transport.write(data)
        if self._logs:
            self._log_line()

    def _log_line(self) -> None:
        """Write the line that Tornado would have written."""
        head = self.head
        log = access_log.info if self.status < 400 else access_log.warning
        address = head.client[0] if head.client is not None else "0.0.0.0"
        duration_ms = 1000 * (time.monotonic() - self.started_at)
        log("%d %s %s (%s) %.2fms", self.status, head.method, head.target, address, duration_ms)
