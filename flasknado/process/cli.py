"""`flasknado [options] MODULE:APP`: host any WSGI application, with native handlers beside it.

The command line is gunicorn's (`--bind`, `--workers`, `--config`, ...) with the options of
`flasknado.process.settings`.
"""

from __future__ import annotations

import argparse

import gunicorn
from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.config import Config
from gunicorn.errors import AppImportError, ConfigError

from flasknado import __version__
from flasknado.errors import ConfigurationError
from flasknado.process import serve, settings
from flasknado.process.build import build_server, import_application
from flasknado.server import HTTPServer


def main() -> None:
    """Run the command; ends the process."""
    try:
        application = CommandLine("%(prog)s [OPTIONS] MODULE:APP", prog="flasknado")
        serve.check(application.cfg)
        application.run()
    except (ConfigurationError, ConfigError) as error:
        serve.fail(str(error))


class CommandLineConfig(Config):
    """gunicorn's settings, with our name and version on the command line."""

    def parser(self) -> argparse.ArgumentParser:
        parser = super().parser()
        for action in parser._actions:
            if isinstance(action, argparse._VersionAction):
                action.version = f"flasknado {__version__} (gunicorn {gunicorn.__version__})"
        return parser


class CommandLine(WSGIApplication, serve.HostedApplication):
    """The application and the settings that a command line names."""

    def load_default_config(self) -> None:
        self.cfg = CommandLineConfig(self.usage, prog=self.prog)
        settings.apply_defaults(self.cfg)

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
