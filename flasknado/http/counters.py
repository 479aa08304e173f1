"""Plain counts of what passes through a server, for metrics and for draining."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mypy_extensions import mypyc_attr

from flasknado.http.message import Address, RequestHead

ORDINARY: Final = "ordinary"
NATIVE: Final = "native"
REFUSED: Final = "refused"


@mypyc_attr(allow_interpreted_subclasses=True)
class Finished:
    """A request whose response has ended; immutable by convention.

    head: its head, or `None` if that could not be read. status: 499 if the client left before
    a response had begun. sent_bytes: of the response, with its head. duration_s: from the
    request's head to the end of its response. half: `ordinary`, `native` or `refused`.
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


ResponseHook = Callable[[Finished], None]

EndHook = Callable[[int], None]
"""Called with the bytes sent since, when a connection that left HTTP has closed."""

DetachHook = Callable[[Finished], EndHook | None]
"""Called as a `ResponseHook`; what it returns is called once more at the end."""


class Counters:
    """The counts of one server. Written on the loop's thread, may be read on any."""

    __slots__ = (
        "connections_accepted",
        "connections_open",
        "connections_refused",
        "connections_upgraded",
        "native_in_flight",
        "native_requests",
        "on_detach",
        "on_response",
        "ordinary_in_flight",
        "ordinary_requests",
        "requests_refused",
    )

    def __init__(self) -> None:
        self.connections_open = 0
        """Open now, upgraded ones among them."""
        self.connections_upgraded = 0
        """Of those, the ones that a native handler has detached (WebSocket)."""
        self.connections_accepted = 0
        self.connections_refused = 0
        """Closed at once because of `Limits.max_connections`."""
        self.ordinary_in_flight = 0
        """Requests of the container whose head has been read and whose response has not ended."""
        self.native_in_flight = 0
        self.ordinary_requests = 0
        """Requests of the container so far."""
        self.native_requests = 0
        self.requests_refused = 0
        """Answered by the connection itself: malformed, too large, too slow."""
        self.on_response: ResponseHook | None = None
        """Called on the loop's thread once for each finished exchange, if set."""
        self.on_detach: DetachHook | None = None
        """Called instead when a native handler takes a connection out of HTTP, if set.

        Only the llhttp layer calls it; on the other one `on_response` is called then.
        """

    def begin(self, half: str) -> None:
        """Count a request in."""
        if half is ORDINARY:
            self.ordinary_requests += 1
            self.ordinary_in_flight += 1
        else:
            self.native_requests += 1
            self.native_in_flight += 1

    def end(self, half: str) -> None:
        """Count a request out."""
        if half is ORDINARY:
            self.ordinary_in_flight -= 1
        else:
            self.native_in_flight -= 1

    def refused(
        self, peer: Address | None, head: RequestHead | None, status: int, sent_bytes: int
    ) -> None:
        """Tell the hook, if there is one, that a connection itself has answered."""
        if self.on_response is not None:
            finished = Finished(head, status, sent_bytes, 0.0, REFUSED)
            finished.peer = peer
            self.on_response(finished)

    @property
    def in_flight(self) -> int:
        """Requests on both halves whose response has not ended."""
        return self.ordinary_in_flight + self.native_in_flight
