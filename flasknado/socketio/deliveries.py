"""Events on their way to rooms: in order, in slices, and joined where they go to the same.

What is sent in one turn of the loop, and while earlier events are still being written, waits
here. Events in succession to the same clients then make one write, and thousands of clients do
not hold up everything else. On the loop's thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from flasknado.socketio.client import Client
from flasknado.socketio.engineio.packet import Outgoing
from flasknado.socketio.message import Joined

SLICE_CLIENTS = 250
"""How many clients are written to in one turn of the loop."""
JOINED_BYTES = 256 * 1024
"""How much is joined to one write."""
POINTER_BYTES = 8


class Target(NamedTuple):
    """Who gets an event."""

    namespace: str
    keys: tuple[str, ...] | None
    """The rooms; `None` for everybody in the namespace."""
    skip: frozenset[str] = frozenset()
    """The `sid`s of those who do not."""


class _Waiting:
    """An event that waits; `clients` are those who get it, once that has been settled."""

    __slots__ = ("clients", "message", "size_bytes", "target")

    def __init__(self, target: Target, message: Outgoing) -> None:
        self.target = target
        self.message = message
        self.clients: tuple[Client, ...] | None = None
        self.size_bytes = message.size_bytes
        """About how much waits because of it."""


class Deliveries:
    """The events that have not been written yet.

    `find(target)` returns the clients of a target; it is asked when the writing begins, or before
    one of the rooms changes. `write(clients, message)` writes to those of them that are still
    there, and returns how many there were; `soon(call)` has a call made on the loop's next turn.
    """

    def __init__(
        self,
        find: Callable[[Target], Iterator[Client]],
        write: Callable[[Iterable[Client], Outgoing], int],
        soon: Callable[[Callable[[], None]], object],
    ) -> None:
        self._find = find
        self._write = write
        self._soon = soon
        self._waiting: deque[_Waiting] = deque()
        self._of_rooms: dict[tuple[str, str], deque[_Waiting]] = {}
        """What waits for each room, by namespace and key, as far as it has not been settled."""
        self._clients: Iterator[Client] | None = None
        self._message: Outgoing | None = None
        self._scheduled = False
        self.waiting_bytes = 0
        """How much waits; may be read on any thread."""
        self.writes = 0
        """How often a message, or several that were joined, was written to a client."""

    def add(self, target: Target, message: Outgoing) -> None:
        """Have a message written to all clients of a target."""
        waiting = _Waiting(target, message)
        self._waiting.append(waiting)
        for key in target.keys or ():
            self._of_rooms.setdefault((target.namespace, key), deque()).append(waiting)
        self.waiting_bytes += waiting.size_bytes
        if not self._scheduled:
            self._scheduled = True
            self._soon(self._turn)

    def settle(self, namespace: str, key: str) -> None:
        """Note who gets what waits for a room, which is about to change."""
        found: dict[Target, tuple[Client, ...]] = {}
        for waiting in self._of_rooms.pop((namespace, key), ()):
            if waiting.clients is None:
                clients = found.get(waiting.target)
                if clients is None:
                    clients = found[waiting.target] = tuple(self._find(waiting.target))
                    held_bytes = POINTER_BYTES * len(clients)
                    waiting.size_bytes += held_bytes
                    self.waiting_bytes += held_bytes
                waiting.clients = clients

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
            self._clients, self._message = self._take()
        assert self._message is not None
        written = self._write(islice(self._clients, most), self._message)
        self.writes += written
        if written < most:
            self._clients = self._message = None
        return max(written, 1)

    def _take(self) -> tuple[Iterator[Client], Outgoing]:
        """Take the next message, with those behind it that go to the same clients."""
        first = self._pop()
        message = first.message
        messages = [message]
        size_bytes = message.size_bytes
        while self._waiting and message.joins and size_bytes < JOINED_BYTES:
            following = self._waiting[0]
            message = following.message
            same = following.target == first.target and following.clients is first.clients
            if not (same and message.joins):
                break
            self._pop()
            messages.append(message)
            size_bytes += message.size_bytes
        clients = first.clients
        if clients is None:
            # A copy: clients come and go while the writing lasts.
            clients = tuple(self._find(first.target))
        return iter(clients), messages[0] if len(messages) == 1 else Joined(messages)

    def _pop(self) -> _Waiting:
        waiting = self._waiting.popleft()
        self.waiting_bytes -= waiting.size_bytes
        namespace, keys, _ = waiting.target
        for key in keys or ():
            of_room = self._of_rooms.get((namespace, key))
            if of_room is not None and of_room[0] is waiting:
                of_room.popleft()
                if not of_room:
                    del self._of_rooms[namespace, key]
        return waiting
