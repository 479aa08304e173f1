"""The buttons of the pulse: what a hybrid holds, shown on itself. Each is bounded, one at a time.

The server connects to itself at the address at which the request came in, never elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from typing import Any, ClassVar

from async_handlers.pulse.access import PulseBase
from flasknado import Refused

STREAMS = 1_000
EVENTS = 1_000
HELD_S = 30.0
CONNECTED_AT_ONCE = 50
CONNECT_S = 10.0
MAX_THREADS = 256
_SPARE_FILES = 200


class ActionHandler(PulseBase):
    """A button: only one of its kind works at a time."""

    _working: ClassVar[bool] = False

    async def post(self) -> None:
        await self.check_action()
        kind = type(self)
        if kind._working:
            raise Refused(409, "this is being done already")
        kind._working = True
        try:
            message = await self.act()
        except BaseException:
            kind._working = False
            raise
        self.write({"message": message})

    async def act(self) -> str:
        """Do it, and return what was done; sets `_working` back when it is over."""
        raise NotImplementedError

    def done(self, _task: Any = None) -> None:
        """Let the button be pressed again."""
        type(self)._working = False

    def own_address(self) -> tuple[str, int]:
        """Return where this request came in; raises `Refused` (409) on a Unix socket."""
        connection: Any = self.request.connection
        name = connection.stream.socket.getsockname()
        if not isinstance(name, tuple):
            raise Refused(409, "this needs a TCP port, and the server listens on a Unix socket")
        return name[0], name[1]

    async def send(self, path: str) -> asyncio.Transport:
        """Ask this server for a path, and return the connection once the answer begins."""
        loop = asyncio.get_running_loop()
        begun: asyncio.Future[None] = loop.create_future()
        transport, _ = await loop.create_connection(lambda: _Reader(begun), *self.own_address())
        head = f"GET {path} HTTP/1.1\r\nHost: {self.request.host}\r\nConnection: close\r\n\r\n"
        transport.write(head.encode("latin-1"))
        try:
            await begun
        except BaseException:
            transport.abort()
            raise
        return transport


class _Reader(asyncio.Protocol):
    """Takes what comes, and forgets it."""

    def __init__(self, begun: asyncio.Future[None]) -> None:
        self._begun = begun

    def data_received(self, data: bytes) -> None:  # noqa: ARG002
        if not self._begun.done():
            self._begun.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._begun.done():
            self._begun.set_exception(error or ConnectionResetError("no answer came"))


class HoldStreamsHandler(ActionHandler):
    """Opens event streams to this server, and holds them for `HELD_S`."""

    async def act(self) -> str:
        free = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_FILES
        wanted = max(0, min(STREAMS, free // 2))
        gate = asyncio.Semaphore(CONNECTED_AT_ONCE)

        async def one() -> asyncio.Transport | None:
            async with gate:
                with contextlib.suppress(OSError):  # TimeoutError is one
                    async with asyncio.timeout(CONNECT_S):
                        return await self.send("/live/events?channel=pulse")
            return None

        opened = await asyncio.gather(*(one() for _ in range(wanted)))
        held = [transport for transport in opened if transport is not None]
        asyncio.get_running_loop().call_later(HELD_S, self._let_go, held)
        return f"{len(held)} streams are held for {HELD_S:.0f} seconds."

    def _let_go(self, held: list[asyncio.Transport]) -> None:
        for transport in held:
            transport.abort()
        self.done()


class BusyThreadsHandler(ActionHandler):
    """Sends as many slow requests to this server as it has threads."""

    async def act(self) -> str:
        busy = await self.ask("busy")
        threads = min(busy["threads"], MAX_THREADS)

        async def one() -> None:
            with contextlib.suppress(OSError):
                async with asyncio.timeout(busy["seconds"] + CONNECT_S):
                    (await self.send(busy["path"])).abort()

        self._tasks = [asyncio.ensure_future(one()) for _ in range(threads)]
        asyncio.gather(*self._tasks).add_done_callback(self.done)
        return f"{threads} threads are busy for {busy['seconds']:.0f} seconds."


class PublishHandler(ActionHandler):
    """Publishes events in one transaction, on a channel that everybody may read."""

    async def act(self) -> str:
        await self.ask("publish", EVENTS)
        self.done()
        return f"{EVENTS} events are published."
