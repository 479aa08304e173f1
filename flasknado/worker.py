"""One server process: boot, serve, drain, stop (a gunicorn worker class).

gunicorn -k flasknado.Worker MODULE:APP
flasknado MODULE:APP
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from gunicorn.workers.base import Worker as GunicornWorker

from flasknado import ops, options
from flasknado.compose import compose
from flasknado.http.server import HTTPServer

HEARTBEAT_S = 1.0
SWITCH_INTERVAL_S = 0.0005
"""How long a computing thread may keep the interpreter while the loop waits for it."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a uvloop where it is installed, else asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class Worker(GunicornWorker):
    """Serves a WSGI application, or an `HTTPServer` that the application's loader made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stopping: asyncio.Event | None = None

    def run(self) -> None:
        """Serve until told to stop; called by gunicorn in the worker's process."""
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self._on_signal, number)
        loop.add_signal_handler(signal.SIGUSR1, self.log.reopen_files)
        if not self.alive:
            return  # told to stop while booting
        server = self._server()
        for listener in self.sockets:
            wrapped: Any = listener  # gunicorn's wrapper of a socket
            server.add_socket(wrapped.sock)
        heartbeat = loop.create_task(self._beat())
        self.log.info("Serving as worker with pid: %s", self.pid)
        await self._stopping.wait()
        self.log.info("Draining worker with pid: %s", self.pid)
        if not await server.drain(self.cfg.graceful_timeout):
            self.log.warning(
                "worker %s stops with requests unfinished after %s s",
                self.pid,
                self.cfg.graceful_timeout,
            )
        heartbeat.cancel()

    def _server(self) -> HTTPServer:
        server: Any = self.wsgi
        if not isinstance(server, HTTPServer):
            server = compose(server, self.cfg)
        assert isinstance(server, HTTPServer)
        ops.install(server, options.option(self.cfg, "ops_prefix"))
        return server

    def _on_signal(self, number: int) -> None:
        """TERM drains; INT and QUIT stop at once. On the loop's thread."""
        self.alive = False
        if number == signal.SIGTERM:
            assert self._stopping is not None
            self._stopping.set()
            return
        self.cfg.worker_int(self)
        self.log.info("Stopping worker with pid: %s at once", self.pid)
        # Pool threads may hang, so nothing waits for them.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    async def _beat(self) -> None:
        """Tell the arbiter that the loop turns, and stop when the arbiter has gone."""
        while True:
            self.notify()
            if self.ppid != os.getppid():
                self.log.info("The arbiter has gone, stopping worker with pid: %s", self.pid)
                assert self._stopping is not None
                self._stopping.set()
            await asyncio.sleep(HEARTBEAT_S)
