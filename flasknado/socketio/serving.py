"""`socketio.run(app)`: one server in this process, on this thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

from flask import Flask

from flasknado.errors import AddressTaken, ConfigurationError
from flasknado.server import HTTPServer
from flasknado.socketio.errors import SocketIOError
from flasknado.stock.container import WSGIContainer

log = logging.getLogger("flasknado.socketio")

DRAIN_S = 5.0
IGNORED = ("allow_unsafe_werkzeug", "server_options", "log_config")

_stops: list[Callable[[], None]] = []
"""What ends each running server; called on any thread."""


def serve(
    app: Flask,
    host: str | None,
    port: int | None,
    *,
    debug: bool | None = None,
    use_reloader: bool | None = None,
    log_output: bool | None = None,
    extra_files: list[str] | None = None,
    reloader_options: dict[str, Any] | None = None,
    **others: Any,
) -> None:
    """Serve until TERM, INT or `stop()`; with a reloader, in a thread of a further process.

    Raises `ConfigurationError` for options that mean nothing here, and `AddressTaken`.
    """
    for name in others:
        if name not in IGNORED:
            raise ConfigurationError(
                f"socketio.run() has no option {name!r}: serve with `flasknado MODULE:APP`, whose "
                f"settings are in its documentation"
            )
    host = host or "127.0.0.1"
    port = _port_of(app) if port is None else port
    if debug is not None:
        app.debug = debug
    application: Any = app
    if app.debug:
        from werkzeug.debug import DebuggedApplication

        application = DebuggedApplication(app, evalex=True)
    if log_output or (log_output is None and app.debug):
        logging.getLogger("tornado.access").setLevel(logging.INFO)
    run = _Run(application, host, port)
    if app.debug if use_reloader is None else use_reloader:
        from werkzeug._reloader import run_with_reloader

        options = dict(reloader_options or {})
        if extra_files:
            options["extra_files"] = extra_files
        run_with_reloader(run, **options)
    else:
        run()


def stop() -> None:
    """End the servers that `serve()` runs in this process; on any thread."""
    if not _stops:
        raise SocketIOError("no server runs here that socketio.run() has started")
    for end in _stops:
        end()


def _port_of(app: Flask) -> int:
    name = str(app.config.get("SERVER_NAME") or "")
    return int(name.rpartition(":")[2]) if ":" in name else 5000


class _Run:
    """One server, from the start to the end."""

    def __init__(self, application: Any, host: str, port: int) -> None:
        self._application = application
        self._host = host
        self._port = port

    def __call__(self) -> None:
        with (
            asyncio.Runner(loop_factory=_new_loop) as runner,
            contextlib.suppress(KeyboardInterrupt),
        ):
            runner.run(self._serve())

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        server = HTTPServer(WSGIContainer(self._application))

        def end() -> None:
            with contextlib.suppress(RuntimeError):  # it has ended meanwhile
                loop.call_soon_threadsafe(ended.set)

        _stops.append(end)
        if threading.current_thread() is threading.main_thread():
            loop.add_signal_handler(signal.SIGTERM, ended.set)
        try:
            listening = self._listen()
            server.add_sockets([listening])
            log.info("serving on http://%s:%d", self._host, listening.getsockname()[1])
            await ended.wait()
        finally:
            _stops.remove(end)
            await server.drain(DRAIN_S)

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            listening = socket.create_server((self._host, self._port), family=family)
        except OSError as error:
            raise AddressTaken(
                f"cannot listen on {self._host}:{self._port}: {error.strerror}"
            ) from None
        listening.setblocking(False)
        return listening


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
