"""The worker of development mode: serves what can be loaded, and restarts when code changes.

An application that cannot be loaded is served as the page that says why, until it can.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from gunicorn.errors import AppImportError
from gunicorn.sock import ssl_context

from flasknado.debug.debugger import Refusal, Unloaded
from flasknado.debug.local import is_loopback_socket
from flasknado.debug.mode import DevelopmentMode, shown
from flasknado.debug.request_log import RequestLog
from flasknado.debug.tracebacks import files_of, without_frames_of
from flasknado.debug.watcher import Watcher
from flasknado.ops import Operations
from flasknado.process import debug_settings, settings
from flasknado.process.importer import ImportFromStringError
from flasknado.process.operations import scrubber_of
from flasknado.process.status import StopReason, WorkerState
from flasknado.process.worker import Worker
from flasknado.server import HTTPServer
from flasknado.stock.container import WSGIContainer

RESTART_GRACE_S = 10.0
"""How long requests of the old code may run on; new ones get the new code meanwhile."""

_LOADERS = ("flasknado.process", "gunicorn", "importlib")
"""Modules whose frames lie between the worker and the application that it loads."""


class DebugWorker(Worker):
    """Serves in development mode (`flasknado.debug`)."""

    closes_idle = True  # a browser that comes back gets the new code

    _watcher: Watcher
    _mode: DevelopmentMode | None = None
    _requests: RequestLog | None = None
    _restarts = False

    def load_wsgi(self) -> None:
        """Load the application, or what says why it cannot be loaded."""
        for listening in self._listening():
            if not is_loopback_socket(listening):
                raise AppImportError(
                    f"--debug serves a debugger that runs code, on loopback addresses only, but "
                    f"the server listens at {listening.getsockname()}: use 127.0.0.1"
                )
        os.environ["FLASK_DEBUG"] = "1"  # as `flask run --debug` does
        self._watcher = Watcher()
        self._watcher.also(self.cfg.reload_extra_files)
        try:
            super().load_wsgi()
        except (Exception, SystemExit) as error:
            self._load_failed(error)

    def _load_failed(self, error: BaseException) -> None:
        files = files_of(error)
        reason = _reason_of(error)
        if isinstance(reason, Refusal):
            if self.age == 1:
                raise error  # a sentence ends the start: it is about the command
            self.log.error("%s", reason)
        elif not isinstance(error, AppImportError):  # which has been printed
            self.log.error("the application failed to load", exc_info=error)
        self.log.error("The browser shows why; save the file once it is mended.")
        self._watcher.broken = True
        self._watcher.also(files)
        application = Unloaded(reason)
        self.wsgi = application
        self._loaded = HTTPServer(
            WSGIContainer(application, threads=self.cfg.threads),
            ssl_options=ssl_context(self.cfg) if self.cfg.is_ssl else None,
        )

    def _server(self) -> HTTPServer:
        server = super()._server()
        prefix = settings.option(self.cfg, "ops_prefix")
        self._mode = DevelopmentMode(server, self._watcher, prefix, self._restart)
        if self.age == 1:
            self.log.info(
                "Development mode: never for the public. The debugger's PIN: %s",
                self._mode.pin or "none, and it shows tracebacks only",
            )
        return server

    def _begin_operations(self, server: HTTPServer) -> Operations:
        operations = super()._begin_operations(server)
        if operations.access_log is None and self._mode is not None:
            self._requests = RequestLog(scrubber_of(self.cfg), self._mode.browsers.prefix)
            server.counters.hooks.append(self._requests.note)
        return operations

    def _restart(self, paths: list[str]) -> None:
        """Have a new worker take this one's place, and take no more requests."""
        assert self._stopping is not None
        if self._stopping.is_set():
            return
        loaded_before = [path for path in paths if path in debug_settings.LOADED]
        for path in loaded_before:
            try:
                compile(Path(path).read_bytes(), path, "exec")
            except (OSError, SyntaxError, ValueError) as error:
                # The command itself would end with it, and nobody would see it mended.
                self.log.error("%s has changed, but cannot be loaded: %s", path, error)
                return
        self.log.info("%s: restarting", shown(paths))
        self._restarts = True
        self.status_file.reason = StopReason.RECYCLE
        self.status_file.state = WorkerState.WORN
        if os.getppid() == self.ppid:
            # It begins anew itself, or looks now, and not in a second.
            os.kill(self.ppid, signal.SIGHUP if loaded_before else signal.SIGCHLD)
        if self._mode is not None:
            self._mode.browsers.end()
        self._stopping.set()

    def _grace_s(self) -> float:
        grace_s = super()._grace_s()
        return min(grace_s, RESTART_GRACE_S) if self._restarts else grace_s

    async def _drain(self, server: HTTPServer) -> None:
        self._watcher.stop()
        await super()._drain(server)
        self._close_log()

    def _quit(self) -> None:
        self._close_log()
        super()._quit()

    def _close_log(self) -> None:
        if self._requests is not None:
            self._requests.close()


def _reason_of(error: BaseException) -> Exception:
    """Return why an application could not be loaded, with the traceback of its own code only."""
    if isinstance(error, AppImportError):
        cause = error.__cause__
        if not isinstance(cause, ImportFromStringError) or cause.__cause__ is None:
            return Refusal(str(error))
        error = cause.__cause__
    error.__traceback__ = without_frames_of(error, _LOADERS)
    if isinstance(error, Exception):
        return error
    ended = RuntimeError("the application ended the process while it was loaded")
    ended.__cause__ = error
    return ended
