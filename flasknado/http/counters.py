"""Plain counts of what passes through a server, for metrics and for draining."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flasknado.http.message import Address, Finished, RequestHead

ORDINARY: Final = "ordinary"
NATIVE: Final = "native"
REFUSED: Final = "refused"

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
        "hooks",
        "on_detach",
        "requests",
        "requests_refused",
        "running",
    )

    def __init__(self) -> None:
        self.connections_open = 0
        """Open now, upgraded ones among them."""
        self.connections_upgraded = 0
        """Of those, the ones that a native handler has detached (WebSocket)."""
        self.connections_accepted = 0
        self.connections_refused = 0
        """Closed at once because of `Limits.max_connections`."""
        self.requests = {ORDINARY: 0, NATIVE: 0}
        """Requests so far, by the half that serves them."""
        self.running = {ORDINARY: 0, NATIVE: 0}
        """Those of them whose head has been read and whose response has not ended."""
        self.requests_refused = 0
        """Answered by the connection itself: malformed, too large, too slow."""
        self.hooks: list[ResponseHook] = []
        """Called on the loop's thread once for each finished exchange."""
        self.on_detach: DetachHook | None = None
        """Called instead when a native handler takes a connection out of HTTP, if set.

        Only the llhttp layer calls it; on the other one `hooks` are called then.
        """

    def refused(
        self, peer: Address | None, head: RequestHead | None, status: int, sent_bytes: int
    ) -> None:
        """Tell the hooks that a connection itself has answered."""
        if self.hooks:
            finished = Finished(head, status, sent_bytes, 0.0, REFUSED)
            finished.peer = peer
            for hook in self.hooks:
                hook(finished)

    @property
    def in_flight(self) -> int:
        """Requests on both halves whose response has not ended."""
        return sum(self.running.values())
