"""A real server on a loop of its own thread, on a free port, for the length of a test."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from tornado.netutil import bind_sockets

from flasknado import HTTPServer

T = TypeVar("T")

START_DEADLINE_S = 20.0
DRAIN_DEADLINE_S = 10.0


@dataclass(frozen=True)
class Serving:
    """A running server: where it listens, and the way onto its loop."""

    host: str
    port: int
    server: HTTPServer
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    def on_loop(self, call: Callable[[], T]) -> T:
        """Return what `call()` returns on the loop's thread."""

        async def run() -> T:
            return call()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(START_DEADLINE_S)


@contextlib.contextmanager
def serving(
    make_server: Callable[[], HTTPServer],
    *,
    host: str = "127.0.0.1",
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
) -> Iterator[Serving]:
    """Run the server that `make_server()` returns (called on the loop) until the block ends."""
    started: Future[Serving] = Future()
    stopping: Future[None] = Future()

    async def main() -> None:
        try:
            server = make_server()
            sockets = bind_sockets(0, host)
            server.add_sockets(sockets)
            port = sockets[0].getsockname()[1]
            loop = asyncio.get_running_loop()
            started.set_result(Serving(host, port, server, loop))
        except BaseException as error:
            started.set_exception(error)
            return
        await asyncio.wrap_future(stopping)
        await server.drain(DRAIN_DEADLINE_S)
        await _close_detached()

    def run() -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=run, name="serving", daemon=True)
    thread.start()
    try:
        yield started.result(START_DEADLINE_S)
    finally:
        stopping.set_result(None)
        thread.join(START_DEADLINE_S)
        assert not thread.is_alive(), "the server did not stop"


async def _close_detached() -> None:
    """Close what a drain leaves to whoever detached it, where asyncio would warn of it.

    A client that has just left may not have been noticed, and nobody looks any more.
    """
    transports = getattr(asyncio.get_running_loop(), "_transports", {})
    for transport in list(transports.values()):
        if not transport.is_closing():
            transport.abort()
    await asyncio.sleep(0)
