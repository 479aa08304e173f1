"""Events on their way to rooms: in order, in slices, and joined where they go to the same.

What is sent in one turn of the loop, and while earlier events are still being written, waits
here. Events in succession to the same clients then make one write, and thousands of clients do
not hold up everything else. On the loop's thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from flasknado.socketio.client import Client, ClientState
from flasknado.socketio.engineio.packet import Outgoing
from flasknado.socketio.message import Joined

SLICE_CLIENTS = 250
"""How many clients are written to in one turn of the loop."""
JOINED_BYTES = 256 * 1024
"""How much is joined to one write."""


class Target(NamedTuple):
    """Who gets an event."""

    namespace: str
    keys: tuple[str, ...] | None
    """The rooms; `None` for everybody in the namespace."""
    skip: frozenset[str] = frozenset()
    """The `sid`s of those who do not."""


class Deliveries:
    """The events that have not been written yet.

    `find(target)` returns the clients at the moment when the writing begins; `write(client,
    message)` writes; `soon(call)` has a call made on the loop's next turn.
    """

    def __init__(
        self,
        find: Callable[[Target], Iterator[Client]],
        write: Callable[[Client, Outgoing], None],
        soon: Callable[[Callable[[], None]], object],
    ) -> None:
        self._find = find
        self._write = write
        self._soon = soon
        self._waiting: deque[tuple[Target, Outgoing]] = deque()
        self._clients: Iterator[Client] | None = None
        self._message: Outgoing | None = None
        self._scheduled = False
        self.waiting_bytes = 0
        """How much waits; may be read on any thread."""
        self.writes = 0
        """How often a message, or several that were joined, was written to a client."""

    def add(self, target: Target, message: Outgoing) -> None:
        """Have a message written to all clients of a target."""
        self._waiting.append((target, message))
        self.waiting_bytes += message.size_bytes
        if not self._scheduled:
            self._scheduled = True
            self._soon(self._turn)

    def _turn(self) -> None:
        left = SLICE_CLIENTS
        while left > 0 and (self._clients is not None or self._waiting):
            left -= self._advance(left)
        if self._clients is not None or self._waiting:
            self._soon(self._turn)
        else:
            self._scheduled = False

    def _advance(self, most: int) -> int:
        """Write to at most so many clients; returns how much of the turn that took."""
        if self._clients is None:
            target, self._message = self._take()
            # A copy: clients come and go while the writing lasts.
            self._clients = iter(tuple(self._find(target)))
        message = self._message
        assert message is not None
        written = 0
        for client in islice(self._clients, most):
            written += 1
            if client.state is not ClientState.GONE:
                self._write(client, message)
        self.writes += written
        if written < most:
            self._clients = self._message = None
        return max(written, 1)

    def _take(self) -> tuple[Target, Outgoing]:
        """Take the next message, with those behind it that go to the same clients."""
        target, message = self._waiting.popleft()
        messages = [message]
        size_bytes = message.size_bytes
        while self._waiting and message.joins and size_bytes < JOINED_BYTES:
            next_target, message = self._waiting[0]
            if next_target != target or not message.joins:
                break
            self._waiting.popleft()
            messages.append(message)
            size_bytes += message.size_bytes
        self.waiting_bytes -= size_bytes
        return target, messages[0] if len(messages) == 1 else Joined(messages)
