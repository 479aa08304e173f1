"""What those who watch all connections of a server need of each."""

from __future__ import annotations

import asyncio
from typing import Protocol

from flasknado.http.exchange import Exchange


class Watched(Protocol):
    """A connection, to those who watch it: `flasknado.http.connection.Connection`."""

    active: Exchange | None
    deadline: float
    write_deadline: float
    write_paused: bool
    transport: asyncio.Transport

    def expire(self, now: float) -> None:
        """Do what the deadline that has passed demands."""

    def close_idle(self) -> None:
        """Close if the connection only waits for a further request."""

    def abort(self) -> None:
        """Cut the connection off."""

    def cut_off(self, reason: str) -> None:
        """Cut it off, and say why in the log."""

    def pause_body(self) -> None:
        """Read no more of a body: there is no memory for it."""

    def resume_body(self) -> None:
        """Read on after `pause_body()`."""

    def holds_thread(self) -> bool:
        """Return whether a thread of the container waits for this client."""

    def taken_bytes(self) -> int:
        """Return how much the client's socket has taken so far."""


class Taken(Protocol):
    """A connection that has left HTTP for a thread: `flasknado.wsgi.taken.TakenConnection`."""

    def abort(self) -> None:
        """Cut it off."""
