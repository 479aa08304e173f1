"""Plain counts of what passes through a server, for metrics and for draining."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flasknado.http.message import Address, RequestHead

ORDINARY: Final = "ordinary"
NATIVE: Final = "native"
REFUSED: Final = "refused"

ResponseHook = Callable[[RequestHead | None, int, int, float, str], None]
"""Called with head (`None` if unreadable), status, bytes sent, seconds and half."""

RefusalHook = Callable[[Address | None, RequestHead | None, int, int], None]
"""Called with the peer (`None` on a Unix socket), head (`None` if unreadable), status, bytes."""

EndHook = Callable[[int], None]
"""Called with the bytes sent since, when a connection that left HTTP has closed."""

DetachHook = Callable[[RequestHead, int, int, float, str], EndHook | None]
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
        "on_refusal",
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

        self.on_refusal: RefusalHook | None = None
        """Called instead when a connection itself answers, if set: it knows the peer."""

    def refused(
        self, peer: Address | None, head: RequestHead | None, status: int, sent_bytes: int
    ) -> None:
        """Tell the hook, if there is one, that a connection itself has answered."""
        if self.on_refusal is not None:
            self.on_refusal(peer, head, status, sent_bytes)
        elif self.on_response is not None:
            self.on_response(head, status, sent_bytes, 0.0, REFUSED)

    @property
    def in_flight(self) -> int:
        """Requests on both halves whose response has not ended."""
        return self.ordinary_in_flight + self.native_in_flight
