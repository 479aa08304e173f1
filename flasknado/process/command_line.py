"""The application and the settings that a command line names."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.config import get_default_config_file
from gunicorn.errors import AppImportError

from flasknado.errors import ConfigurationError
from flasknado.process import serve
from flasknado.process.build import build_server, import_application
from flasknado.process.configuration import ENVIRONMENT_PREFIX
from flasknado.process.options import CommandLineConfig
from flasknado.server import HTTPServer


class CommandLine(WSGIApplication, serve.HostedApplication):
    """The application and the settings that a command line names."""

    cfg: CommandLineConfig

    def load_default_config(self) -> None:
        self.cfg = CommandLineConfig(self.usage, prog=self.prog)
        self.cfg.apply_defaults()

    def load_config(self) -> None:
        """Read the command line, `GUNICORN_CMD_ARGS` and the configuration file."""
        arguments = self.cfg.parser().parse_args()
        inherited = self.cfg.environment_arguments()
        self.app_uri = arguments.args
        if self.app_uri is not None:
            self.cfg.set("default_proc_name", self.app_uri)
        self.chdir()
        variable = f"{ENVIRONMENT_PREFIX}CONFIG"
        for source, file in (
            ("--config", arguments.config),
            ("--config in GUNICORN_CMD_ARGS", inherited.config),
            (variable, os.environ.get(variable)),
            ("the configuration file", get_default_config_file()),
        ):
            if file:
                self._read(file, source)
                break
        self._assign(inherited, " in GUNICORN_CMD_ARGS")
        self._assign(arguments)
        self.chdir()  # the configuration may have changed it
        if self.app_uri is None:
            self.app_uri = self.cfg.wsgi_app

    def do_load_config(self) -> None:
        """Load the configuration; raises `ConfigurationError`."""
        super().do_load_config()
        if self.app_uri is None:
            raise ConfigurationError(
                "no application: name it as MODULE:APP, such as shop:app, or set wsgi_app in a "
                "configuration file"
            )

    def _read(self, location: str, source: str) -> None:
        """Load a configuration file; `source` is what the user named it by."""
        try:
            if not location.startswith("python:"):
                Path(location.removeprefix("file:")).open("rb").close()
            self.load_config_from_file(location)
        except OSError as error:
            raise ConfigurationError(
                f"{source} is {location!r}, which is not readable ({error.strerror})"
            ) from None
        except ImportError as error:
            raise ConfigurationError(f"{source} is {location!r}: {error}") from None

    def load_config_from_module_name_or_filename(self, location: str) -> dict[str, Any]:
        """Set what a configuration file says, or `python:MODULE`; returns its names."""
        if location.startswith("python:"):
            found = self.get_config_from_module_name(location.removeprefix("python:"))
        else:
            found = self.get_config_from_filename(location.removeprefix("file:"))
        where = location.removeprefix(f"{Path.cwd()}/")
        for name, value in found.items():
            if name in self.cfg.settings:
                self.cfg.assign(name, value, f"{name} in {where}")
        return dict(found)

    def _assign(self, arguments: argparse.Namespace, where: str = "") -> None:
        for name, value in vars(arguments).items():
            if value is None or name == "args":
                continue
            setting: Any = self.cfg.settings[name]
            option = setting.cli[-1] + where
            if isinstance(value, str):
                self.cfg.assign_text(name, value, option)
            else:
                self.cfg.assign(name, value, option)

    def load(self) -> HTTPServer:  # type: ignore[override]  # our worker takes a whole server
        """Return the server for one worker: import the application and the handlers."""
        try:
            return serve.loaded(
                lambda: build_server(import_application(str(self.app_uri)), self.cfg)
            )
        except AppImportError as error:
            if self.cfg.check_config or self.cfg.print_config:
                serve.fail(str(error))
            raise
