"""Flow control on one transport: pausing both ways, who waits for the client, and for how long.

The base of a connection that speaks HTTP and of a stream that has left it. Belongs to the
loop's thread.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from mypy_extensions import mypyc_attr
from tornado.iostream import StreamClosedError

from flasknado.http.shared import Shared

_NOBODY: Final[list[asyncio.Future[None]]] = []


@mypyc_attr(allow_interpreted_subclasses=True)
class Flow(ABC):
    """What a transport tells its protocol of room, and what the protocol tells those who write.

    It has those of `asyncio.Protocol`'s methods that are about room without inheriting them: a
    class with an interpreted base cannot be compiled whole.
    """

    __slots__ = (
        "_drain_waiters",
        "_reading_paused",
        "on_lost",
        "shared",
        "transport",
        "write_paused",
    )

    transport: asyncio.Transport

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.write_paused = False
        """True while more waits for the client than may wait."""
        self.on_lost: Callable[[int], None] | None = None
        """Called with the bytes sent since it left HTTP, when the connection has gone."""
        self._drain_waiters = _NOBODY
        self._reading_paused = False

    @abstractmethod
    def data_received(self, data: bytes) -> None:
        """Take what has come from the client."""

    def pause_writing(self) -> None:
        """The write buffer has passed its high-water mark."""
        self.write_paused = True
        self.shared.budget.owing.add(self.transport)

    def resume_writing(self) -> None:
        """The write buffer has drained below its low-water mark."""
        self.write_paused = False
        self.shared.budget.owing.discard(self.transport)
        self._settle_drain_waiters(None)

    def _wait_for_room(self) -> asyncio.Future[None]:
        """Return a future that is done once the client has taken enough.

        If the client goes instead, it fails with Tornado's `StreamClosedError`.
        """
        future = self.shared.loop.create_future()
        if self._drain_waiters is _NOBODY:
            self._drain_waiters = []
        self._drain_waiters.append(future)
        return future

    def _settle_drain_waiters(self, error: Exception | None) -> None:
        waiters, self._drain_waiters = self._drain_waiters, _NOBODY
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
                waiter.exception()  # nobody has to look

    def _end_flow(self, error: BaseException | None = None) -> None:
        """Tell those who wait that the client has gone."""
        self.shared.budget.owing.discard(self.transport)
        self._settle_drain_waiters(StreamClosedError(real_error=error))

    def _pause_reading(self) -> None:
        if not self._reading_paused and not self.transport.is_closing():
            self._reading_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()
