"""One server process: boot, serve, drain, stop (a gunicorn worker class).

flasknado MODULE:APP                        with `flasknado.process.arbiter`
gunicorn -k flasknado.Worker MODULE:APP     with gunicorn's own, and its behaviour
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import resource
import signal
import socket
import sys
import tempfile
import time
from types import FrameType
from typing import Any

from gunicorn.errors import AppImportError
from gunicorn.workers.base import Worker as GunicornWorker

from flasknado.errors import ConfigurationError
from flasknado.http.memory import default_limit_bytes
from flasknado.ops import Operations, bind
from flasknado.ops.metrics.sources import resident_bytes
from flasknado.process import settings, standard_streams
from flasknado.process.boot import watched_boot
from flasknado.process.build import build_server
from flasknado.process.children import disown_children
from flasknado.process.logger import Logger
from flasknado.process.operations import operations_of, operations_server, snapshots_of
from flasknado.process.patches import refuse_patched
from flasknado.process.pools import small_pools
from flasknado.process.shutdown import end_within, leave
from flasknado.process.status import StatusFile, StopReason, WorkerState
from flasknado.process.turning import run_to_end
from flasknado.server import HTTPServer

HEARTBEAT_S = 1.0
END_S = 1.0
"""How long cancelled tasks of a worker that ends have to clean up."""

BOOT_END_S = 10.0
"""How long a boot may go on in a process that has been told to stop."""

LEAST_END_S = 2.0
"""How long Python has to end the process when draining has taken all of the grace."""

SWITCH_INTERVAL_S = 0.002
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
    """Serves a WSGI application, or an `HTTPServer` that the application loader returns."""

    closes_idle = False
    """Whether idle connections may not send one more request when it drains."""

    arbiter: Any = None
    """The arbiter that replaces a worker which says `WORN`; ours sets it, gunicorn's does not."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.status_file = StatusFile(self.tmp.fileno())
        self._stopping: asyncio.Event | None = None
        self._loaded: HTTPServer | None = None
        self._operations: Operations | None = None
        self._grace_ends_at = 0.0
        self._max_memory_bytes = 0
        self._ops_server: HTTPServer | None = None
        # Here, in the arbiter's process, so that all workers have the same.
        self._snapshots = snapshots_of(self.cfg)
        self._ops_socket = self._shared_ops_socket()

    def load_wsgi(self) -> None:
        """Load the application, or the server around one.

        `wsgi` is the application for gunicorn's hooks, which may wrap it (`post_worker_init`).
        """
        with watched_boot():
            super().load_wsgi()
        self._keep_logs()
        try:
            refuse_patched("the application")
        except ConfigurationError as error:
            # gunicorn prints the sentence, without a traceback, and stops.
            raise AppImportError(str(error)) from error
        loaded: Any = self.wsgi
        if isinstance(loaded, HTTPServer):
            self._loaded = loaded
            if loaded.container is not None:
                self.wsgi = loaded.container.application

    def init_signals(self) -> None:
        """Let signals that are for the arbiter pass: whoever signals the group means that one."""
        super().init_signals()
        for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU):
            # Not SIG_IGN, which programs that the application starts would inherit.
            signal.signal(number, self._pass)

    def _pass(self, sig: int, frame: FrameType | None) -> None:
        """Do nothing."""

    def run(self) -> None:
        """Serve until told to stop; called by gunicorn in the worker's process."""
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        if self.cfg.tmp_upload_dir:
            tempfile.tempdir = self.cfg.tmp_upload_dir
        self._raise_file_limit()
        ours = [sock for sock in (*self._listening(), self._ops_socket) if sock is not None]
        disown_children(ours)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            run_to_end(runner.get_loop(), self._serve(), self.log)
            # Closing the loop waits for its executor, and Python's end for other threads and
            # for what `atexit` was given.
            end_within(max(LEAST_END_S, self._grace_ends_at - time.monotonic()), self.log)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        for number in (signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self._quit)
        # A disk that hangs must not stop the loop.
        reopen = self.log.reopen_files
        loop.add_signal_handler(signal.SIGUSR1, lambda: loop.run_in_executor(None, reopen))
        if not self.alive or self.status_file.reason is not StopReason.UNTOLD:
            return  # told to stop while booting, perhaps before signals were heard
        server = self._server()
        if self.age == 1 and server.container is not None:
            for sentence in small_pools(server.container.pool.threads):
                self.log.warning("%s", sentence)
        self._max_memory_bytes = self._max_memory()
        # What was made while booting stays; the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        for listening in self._listening():
            server.add_socket(listening)
        self._operations = self._begin_operations(server)
        heartbeat = loop.create_task(self._beat(server))
        self.status_file.state = WorkerState.SERVING
        self.log.info("Serving as worker with pid: %s", self.pid)
        await self._stopping.wait()
        await self._drain(server)
        heartbeat.cancel()
        self._operations.close(self.status_file.reason.name.lower())
        await end_tasks()

    async def _drain(self, server: HTTPServer) -> None:
        """Let what runs finish, within the grace; readiness says so first if nobody else serves."""
        reason = self.status_file.reason
        grace_s = self._grace_s()
        self._grace_ends_at = time.monotonic() + grace_s
        lame_duck_s = 0.0 if reason.others_serve else settings.option(self.cfg, "lame_duck")
        self.log.info("Draining worker with pid: %s (%s)", self.pid, reason.name.lower())
        if self._ops_server is not None and reason.others_serve:
            self._ops_server.stop()
        if lame_duck_s:
            server.draining = True
            await asyncio.sleep(lame_duck_s)
        if not await server.drain(grace_s, close_idle=self.closes_idle):
            self.log.warning(
                "worker %s stops after %s s with unfinished requests", self.pid, grace_s
            )

    def _grace_s(self) -> float:
        return float(self.cfg.graceful_timeout)

    def _server(self) -> HTTPServer:
        server = self._loaded
        if server is None:
            server = build_server(self.wsgi, self.cfg)
        elif server.container is not None:
            server.container.application = self.wsgi
            server.native.application.settings["wsgi_app"] = self.wsgi
        if server.container is not None and self.cfg.workers > 1:
            server.container.multiprocess = True
        if server.limits.memory_limit_bytes is None:
            limit_bytes = settings.option(self.cfg, "memory_limit")
            server.budget.limit_bytes = limit_bytes or default_limit_bytes(self.cfg.workers)
        return server

    def _listening(self) -> list[socket.socket]:
        wrapped: list[Any] = list(self.sockets)  # gunicorn's wrappers
        return [listener.sock for listener in wrapped]

    def _shared_ops_socket(self) -> socket.socket | None:
        address = settings.option(self.cfg, "ops_bind")
        try:
            return bind.shared_socket(address) if address else None
        except ConfigurationError as error:  # after a reload with another address
            self.log.error("the ops endpoints are not available: %s", error)
            return None

    def _begin_operations(self, server: HTTPServer) -> Operations:
        """Serve health, readiness and metrics: beside the application, or where they are bound."""
        prefix = settings.option(self.cfg, "ops_prefix")
        operations = operations_of(server, self.cfg, self.log, self._snapshots, self.age)
        if not settings.option(self.cfg, "ops_bind"):
            server.native.add(operations.routes(prefix))  # whose place no mount changes
        elif self._ops_socket is not None:
            self._ops_server = operations_server(operations, prefix)
            self._ops_server.add_socket(self._ops_socket)
            self.log.info("Operations at: %s%s", bind.name_of(self._ops_socket), prefix)
        return operations

    def _raise_file_limit(self) -> None:
        """Allow as many open files as the system does; warn if connections may run out of them."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        wanted = self.cfg.worker_connections
        if hard != resource.RLIM_INFINITY and hard < wanted:
            self.log.warning(
                "this process may open %s files, fewer than its %s connections: raise the limit "
                "(ulimit -Hn, LimitNOFILE=) or lower worker_connections",
                hard,
                wanted,
            )

    def _quit(self) -> None:
        """Stop at once (INT, QUIT). On the loop's thread."""
        self.cfg.worker_int(self)
        self.log.info("Stopping worker with pid: %s at once", self.pid)
        if self._operations is not None:
            self._operations.close("quit")
        self.cfg.worker_exit(self.arbiter, self)
        leave(0)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop once the boot is over, or has had its time (TERM)."""
        super().handle_exit(sig, frame)
        end_within(BOOT_END_S, self.log)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 (gunicorn's)
        """Stop at once while booting: unwinding would pass for an application that fails."""
        self._quit()

    def handle_abort(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 (gunicorn's)
        """Say where every thread is, and end: the arbiter found the loop frozen (ABRT).

        At once: unwinding would let the loop turn again, and take connections to drop them.
        """
        faulthandler.dump_traceback(all_threads=True)
        if self._operations is not None:
            self._operations.close("frozen")
        self.cfg.worker_abort(self)
        leave(1)

    async def _beat(self, server: HTTPServer) -> None:
        """Once a second: show that the loop turns, and see whether to go on."""
        assert self._stopping is not None
        assert self._operations is not None
        due_at = time.monotonic()
        while True:
            self.notify()
            for number in standard_streams.open_missing():
                self.log.error(
                    "the application has closed descriptor %s, a standard stream; it is the null "
                    "device now",
                    number,
                )
            self._keep_logs()
            now = time.monotonic()
            try:
                self._operations.beat(lag_s=max(0.0, now - due_at))
            except Exception:
                # Without a heartbeat the worker would be killed, for its numbers alone.
                self.log.exception("the metrics of this worker could not be collected")
            due_at = now + HEARTBEAT_S
            if self.ppid != os.getppid():
                self.log.info("The arbiter is gone, stopping worker with pid: %s", self.pid)
                self._stopping.set()
            elif self.status_file.state == WorkerState.SERVING and self._worn(server):
                self._ask_for_replacement()
            await asyncio.sleep(HEARTBEAT_S)

    def _keep_logs(self) -> None:
        if isinstance(self.log, Logger):  # and not gunicorn's own
            self.log.keep()

    def _max_memory(self) -> int:
        """Return `max_memory` in bytes, or 0 if a worker that has just booted takes more."""
        max_bytes: int = settings.option(self.cfg, "max_memory")
        taken_bytes = resident_bytes() or 0
        if max_bytes and taken_bytes >= max_bytes:
            self.log.error(
                "max_memory is %s bytes, but a newly booted worker takes %s: the limit is "
                "ignored, since every replacement would exceed it: raise it",
                max_bytes,
                taken_bytes,
            )
            return 0
        return max_bytes

    def _worn(self, server: HTTPServer) -> bool:
        """Whether to be replaced: new code, enough requests, threads stuck, too much memory."""
        if not self.alive:
            return True  # the reloader says so
        container = server.container
        if container is not None:
            stuck = container.stuck
            if stuck and stuck >= container.pool.threads * settings.option(self.cfg, "stuck_share"):
                self.log.error("%s of %s threads are stuck", stuck, container.pool.threads)
                return True
            limit = container.streams.limit
            left = container.stream_counts().abandoned
            if left and limit and left >= limit * settings.option(self.cfg, "stuck_share"):
                self.log.error("%s of %s stream threads are stuck", left, limit)
                return True
        max_bytes = self._max_memory_bytes
        if max_bytes:
            taken_bytes = resident_bytes() or 0
            if taken_bytes > max_bytes:
                self.log.warning(
                    "worker %s takes %s bytes of memory, more than max_memory (%s)",
                    self.pid,
                    taken_bytes,
                    max_bytes,
                )
                return True
        counters = server.counters
        return bool(sum(counters.requests.values()) >= self.max_requests)

    def _ask_for_replacement(self) -> None:
        self.log.info("Worker with pid %s asked to be replaced", self.pid)
        self.status_file.state = WorkerState.WORN
        if self.arbiter is None:
            assert self._stopping is not None
            self.status_file.reason = StopReason.RECYCLE
            self._stopping.set()


async def end_tasks() -> None:
    """Cancel the tasks that still run, and give them a moment to end."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=END_S)
