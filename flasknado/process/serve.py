"""Serving: gunicorn's processes around this package's worker.

`serve()` runs a server that the caller composes; `flasknado MODULE:APP`
(`flasknado.process.cli`) composes one from the command line.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from gunicorn.app.base import BaseApplication
from gunicorn.config import Config
from gunicorn.errors import AppImportError, ConfigError

from flasknado.errors import ConfigurationError
from flasknado.process import operations, settings, standard_streams
from flasknado.process.addresses import check_addresses
from flasknado.process.arbiter import Arbiter
from flasknado.process.configuration import HostedConfig
from flasknado.process.gunicorn_settings import refuse_unknown
from flasknado.process.importer import ImportFromStringError
from flasknado.process.patches import refuse_patched
from flasknado.process.values import check as check_values
from flasknado.server import HTTPServer

BuildServer = Callable[[], HTTPServer]


def serve(build: BuildServer, **values: Any) -> NoReturn:
    """Serve what `build()` returns until a signal ends it; never returns.

    `build` is called once in every worker process. `values` are the settings of gunicorn and
    Flasknado (`bind`, `workers`, `threads`, `queue_limit`, ...). Raises `ConfigurationError` for
    a bad value, or an address that is in use. Call it on the main thread, before other threads
    are started.
    """
    standard_streams.open_missing()
    application = _Built(build, values)
    check(application.cfg)
    application.run()
    raise SystemExit(0)


class HostedApplication(BaseApplication):
    """A gunicorn application that our arbiter runs."""

    cfg: Any

    def do_load_config(self) -> None:
        """Load the configuration; at the start and in each reload.

        Raises `ConfigurationError` for a setting that has a bad value or would be ignored.
        """
        try:
            self.load_default_config()
            self.load_config()
            if hasattr(Config, "validate"):  # settings against each other, from gunicorn 27
                self.cfg.validate()
        except (ConfigError, ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigurationError(str(error)) from error
        for folder in (self.cfg.pythonpath or "").split(","):
            if folder and os.path.abspath(folder) not in sys.path:  # noqa: PTH100 (of sys.path)
                sys.path.insert(0, os.path.abspath(folder))  # noqa: PTH100
        self.judge()

    def judge(self) -> None:
        """Raise `ConfigurationError` if the settings that have been loaded cannot be used."""
        refuse_unknown(self.cfg, frozenset(own.name for own in settings.OWN))
        check_values(self.cfg)
        refuse_patched("the configuration file")
        if settings.option(self.cfg, "debug"):
            from flasknado.process import debug_settings

            debug_settings.apply(self.cfg)

    def load_default_config(self) -> None:
        self.cfg = HostedConfig(self.usage, prog=self.prog)
        self.cfg.apply_defaults()

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
    """Raise `ConfigurationError` for what this process cannot have: addresses to listen on.

    Call it in the process that becomes the arbiter.
    """
    operations.check(cfg)
    check_addresses(cfg)


def loaded(build: BuildServer) -> HTTPServer:
    """Return what `build()` returns; what it refuses ends the start with its one sentence."""
    try:
        return build()
    except ConfigurationError as error:
        try:
            refuse_patched("the application")  # after which an import may fail in any way
        except ConfigurationError as refusal:
            raise AppImportError(str(refusal)) from error
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
        for name, value in self._values.items():
            self.cfg.assign(name, value, name)

    def load(self) -> HTTPServer:  # type: ignore[override]  # our worker takes a whole server
        return loaded(self._build)
