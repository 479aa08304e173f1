"""What the connections of one server share: limits, counts, a clock, the way to both halves."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
from collections.abc import Callable
from typing import Any, Final

from flasknado.http.admit import FrontDoor
from flasknado.http.counters import Counters
from flasknado.http.exchange import Exchange
from flasknado.http.limits import Limits
from flasknado.http.mailbox import Mailbox
from flasknado.http.memory import MemoryBudget
from flasknado.http.message import RequestHead
from flasknado.http.response_pace import ResponsePace
from flasknado.http.watched import Taken, Watched

log: Final = logging.getLogger("flasknado.http")

NEVER: Final = math.inf


OpenExchange = Callable[[Any, RequestHead], Exchange]
"""Makes the exchange of a connection's request that was admitted; may raise `RequestError`."""

OpenStream = Callable[[Any], Any]
"""Makes the `Flow` that takes over a connection which leaves HTTP."""


class Shared:
    """The connections of one server on one event loop; belongs to that loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        mailbox: Mailbox,
        limits: Limits,
        counters: Counters,
        *,
        door: FrontDoor,
        open_ordinary: OpenExchange,
        open_native: OpenExchange,
        open_stream: OpenStream,
        requests_waiting: Callable[[], int],
        budget: MemoryBudget,
        protocol: str | None = None,
        keep_alive: bool = True,
    ) -> None:
        self.loop = loop
        self.mailbox = mailbox
        self.limits = limits
        self.counters = counters
        self.door = door
        self.open_ordinary = open_ordinary
        self.open_native = open_native
        self.open_stream = open_stream
        self.budget = budget
        budget.on_change.append(self._memory_changed)
        self.protocol = protocol
        self.keep_alive = keep_alive
        """False when every response closes its connection: by configuration, or while draining."""
        self.connections: set[Watched] = set()
        self.taken: set[Taken] = set()
        """Those that have left HTTP for threads of the application."""
        self.lingering = 0
        self.now = loop.time()
        """The loop's time at the last sweep."""
        self.idle_s = limits.sweep_interval_s + limits.keep_alive_timeout_s
        """How long after the last sweep a connection that is at rest from now on is closed."""
        self.context = contextvars.copy_context()
        """What the context of each native request is a copy of."""
        self._pace = ResponsePace(limits, self.connections, requests_waiting)
        self._soon: asyncio.Future[None] | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    def add(self, connection: Watched) -> None:
        """Watch a connection."""
        self.connections.add(connection)
        if self._sweeping is None:
            self.now = self.loop.time()
            self.budget.look()
            self._sweep_later()

    def discard(self, connection: Watched) -> None:
        """Watch a connection no more."""
        self.connections.discard(connection)

    def deadline(self, timeout_s: float) -> float:
        """Return when a timeout that begins now has passed, on the clock of the sweep."""
        return self.now + self.limits.sweep_interval_s + timeout_s

    @property
    def owes_bytes(self) -> bool:
        """Whether a client has yet to take what was written for it."""
        return any(c.transport.get_write_buffer_size() for c in self.connections)

    def soon(self) -> asyncio.Future[None]:
        """Return a future that is done on the loop's next round, the same for all who ask now.

        A writer whose client keeps up awaits it between two writes, so that others have their
        turn and an endless response does not hold the loop.
        """
        future = self._soon
        if future is None:
            future = self._soon = self.loop.create_future()
            self.loop.call_soon(self._next_round)
        return future

    def _next_round(self) -> None:
        future, self._soon = self._soon, None
        if future is not None and not future.done():
            future.set_result(None)

    def close_idle(self) -> None:
        """Close the connections that only wait for a further request."""
        for connection in list(self.connections):
            connection.close_idle()

    def close_connections(self) -> None:
        """Cut all connections off, whatever they do."""
        for connection in list(self.connections):
            connection.abort()
        for taken in list(self.taken):
            taken.abort()

    def _memory_changed(self, full: bool) -> None:
        """Have no more of any body read, or have reading go on."""
        for connection in list(self.connections):
            if full:
                connection.pause_body()
            else:
                connection.resume_body()

    def _sweep_later(self) -> None:
        self._sweeping = self.loop.call_later(self.limits.sweep_interval_s, self._sweep)

    def _sweep(self) -> None:
        now = self.now = self.loop.time()
        self.budget.look()
        late = [c for c in self.connections if c.deadline <= now or c.write_deadline <= now]
        for connection in late:
            try:
                connection.expire(now)
            except Exception:
                log.exception("a connection's deadline could not be checked")
                connection.abort()
        self._pace.sweep(now)
        if self.connections:
            self._sweep_later()
        else:
            self._sweeping = None
