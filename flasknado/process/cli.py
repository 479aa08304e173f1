"""`flasknado [options] MODULE:APP`: host any WSGI application, with native handlers beside it.

The command line is gunicorn's (`--bind`, `--workers`, `--config`, ...) with the options of
`flasknado.process.settings`.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, NoReturn

import gunicorn
from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.errors import AppImportError, ConfigError

from flasknado import __version__
from flasknado.errors import ConfigurationError
from flasknado.process import serve, settings, standard_streams
from flasknado.process.build import build_server, import_application
from flasknado.server import HTTPServer


def main() -> None:
    """Run the command; ends the process."""
    standard_streams.open_missing()
    if sys.argv[1:2] == ["doctor"]:
        from flasknado.process.doctor import command

        command.main(sys.argv[2:])
    try:
        application = CommandLine("%(prog)s [OPTIONS] MODULE:APP", prog="flasknado")
        serve.check(application.cfg)
        application.run()
    except (ConfigurationError, ConfigError) as error:
        serve.fail(str(error))


class CommandLineConfig(serve.HostedConfig):
    """gunicorn's settings, with our name and version on the command line."""

    def __str__(self) -> str:
        """Return the settings, for `--print-config`: without the token."""
        text: str = super().__str__()
        token = self.settings["metrics_token"].get()
        return text.replace(token, "***") if token else text

    def get_cmd_args_from_env(self) -> list[str]:
        """Return the arguments of the environment: `FLASKNADO_CONFIG` and `GUNICORN_CMD_ARGS`."""
        config_file = os.environ.get(f"{settings.ENVIRONMENT_PREFIX}CONFIG")
        arguments: list[str] = super().get_cmd_args_from_env()
        return ["--config", config_file, *arguments] if config_file else arguments

    def check_environment_arguments(self) -> None:
        """Raise `ConfigurationError` if `GUNICORN_CMD_ARGS` is no command line."""

        def fail(message: str) -> NoReturn:
            text = os.environ.get("GUNICORN_CMD_ARGS", "")
            raise ConfigurationError(f"GUNICORN_CMD_ARGS is {text!r}, which will not do: {message}")

        parser = self.parser()
        parser.error = fail  # type: ignore[method-assign]  # instead of ending the process
        parser.parse_args(self.get_cmd_args_from_env())

    def parser(self) -> argparse.ArgumentParser:
        parser = super().parser()
        for action in parser._actions:
            if isinstance(action, argparse._VersionAction):
                action.version = f"flasknado {__version__} (gunicorn {gunicorn.__version__})"
        return parser


class CommandLine(WSGIApplication, serve.HostedApplication):
    """The application and the settings that a command line names."""

    cfg: CommandLineConfig

    def load_default_config(self) -> None:
        self.cfg = CommandLineConfig(self.usage, prog=self.prog)
        settings.apply_defaults(self.cfg)

    def load_config(self) -> None:
        self.cfg.check_environment_arguments()
        super().load_config()

    def load_config_from_module_name_or_filename(self, location: str) -> dict[str, Any]:
        """Set what a configuration file says, or `python:MODULE`; returns its names."""
        if location.startswith("python:"):
            found = self.get_config_from_module_name(location.removeprefix("python:"))
        else:
            found = self.get_config_from_filename(location.removeprefix("file:"))
        for name, value in found.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)
        return dict(found)

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


if __name__ == "__main__":
    main()
