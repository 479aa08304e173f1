"""Serving: gunicorn's processes around this package's worker.

`serve()` runs a server that the caller composes; `flasknado MODULE:APP`
(`flasknado.process.cli`) composes one from the command line.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from gunicorn.app.base import BaseApplication
from gunicorn.config import Config
from gunicorn.errors import AppImportError

from flasknado.errors import AddressTaken, ConfigurationError
from flasknado.ops.bind import ARBITER_VARIABLE
from flasknado.process import environment, operations, settings
from flasknado.process.arbiter import Arbiter
from flasknado.process.gunicorn_settings import refuse_unknown
from flasknado.process.importer import ImportFromStringError
from flasknado.server import HTTPServer

BuildServer = Callable[[], HTTPServer]


def serve(build: BuildServer, **values: Any) -> NoReturn:
    """Serve what `build()` returns until a signal ends it; never returns.

    `build` is called once in every worker process. `values` are gunicorn's (`bind`,
    `workers`, `threads`, ...) and `flasknado.process.settings`'. Raises `ConfigurationError` for an
    address that is taken. Call it on the main thread, with no other thread started.
    """
    application = _Built(build, values)
    check(application.cfg)
    application.run()
    raise SystemExit(0)


class HostedApplication(BaseApplication):
    """A gunicorn application that our arbiter runs."""

    def run(self) -> None:
        """Run the arbiter until a signal ends it."""
        try:
            Arbiter(self).run()
        except RuntimeError as error:
            fail(str(error))


def fail(message: str) -> NoReturn:
    """End the program with a sentence on standard error and exit status 1."""
    print(f"flasknado: {message}", file=sys.stderr)  # noqa: T201 (the user's terminal)
    raise SystemExit(1)


def check(cfg: Config) -> None:
    """Raise `ConfigurationError` for a setting that will not do, or that would be ignored.

    Call it in the process that becomes the arbiter.
    """
    refuse_unknown(cfg, frozenset(own.name for own in settings.OWN))
    operations.check(cfg)
    check_addresses(cfg)


def check_addresses(cfg: Config) -> None:
    """Raise `ConfigurationError` if an address to listen on is taken or not this machine's."""
    environment.check_port(cfg.bind)
    if cfg.reuse_port or _sockets_are_inherited():
        return
    for address in cfg.address:
        if not isinstance(address, tuple) or address[1] == 0:
            continue
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                raise _address_error(address, error) from None
            except OverflowError:
                raise ConfigurationError(
                    f"{address[0]}:{address[1]} cannot be listened on: ports are 0 to 65535"
                ) from None


def _sockets_are_inherited() -> bool:
    """Whether systemd, or an arbiter that this one replaces (USR2), listens already."""
    by_systemd = os.environ.get("LISTEN_PID") == str(os.getpid())
    return by_systemd or ARBITER_VARIABLE in os.environ


def _address_error(address: tuple[str, int], error: OSError) -> ConfigurationError:
    host, port = address
    if error.errno == errno.EADDRINUSE:
        return AddressTaken(
            f"port {port} on {host} is taken by another program: "
            f"stop that one, or choose another port"
        )
    if error.errno == errno.EACCES:
        return ConfigurationError(
            f"port {port} needs the right to bind ports below 1024: choose a port above"
        )
    return ConfigurationError(
        f"{host}:{port} cannot be listened on ({error.strerror}): choose another address"
    )


def loaded(build: BuildServer) -> HTTPServer:
    """Return what `build()` returns; what it refuses ends the start with its one sentence."""
    try:
        return build()
    except ConfigurationError as error:
        if isinstance(error, ImportFromStringError) and error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        # gunicorn prints the sentence, without a traceback, and stops.
        raise AppImportError(str(error)) from error


class _Built(HostedApplication):
    """A gunicorn application whose workers call a function for their server."""

    def __init__(self, build: BuildServer, values: dict[str, Any]) -> None:
        self._build = build
        self._values = values
        super().__init__()

    def load_config(self) -> None:
        settings.apply_defaults(self.cfg)
        for name, value in self._values.items():
            self.cfg.set(name, value)

    def load(self) -> HTTPServer:  # type: ignore[override]  # our worker takes a whole server
        return loaded(self._build)
