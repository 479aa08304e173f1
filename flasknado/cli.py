"""`flasknado [options] MODULE:APP`: host any WSGI application, with native handlers beside it.

The command line is gunicorn's (`--bind`, `--workers`, `--config`, ...) with the options of
`flasknado.options`.
"""

from __future__ import annotations

from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.errors import ConfigError

from flasknado import host, options
from flasknado.compose import compose, import_application
from flasknado.errors import ConfigurationError
from flasknado.http.server import HTTPServer


def main() -> None:
    """Run the command; ends the process."""
    try:
        application = CommandLine("%(prog)s [OPTIONS] MODULE:APP", prog="flasknado")
        options.check(application.cfg)
        host.check_addresses(application.cfg)
        application.run()
    except (ConfigurationError, ConfigError) as error:
        host.fail(str(error))


class CommandLine(WSGIApplication, host.HostedApplication):
    """The application and the settings that a command line names."""

    def load_default_config(self) -> None:
        super().load_default_config()
        options.apply_defaults(self.cfg)

    def load(self) -> HTTPServer:  # type: ignore[override]  # our worker takes a whole server
        """Return the server for one worker: import the application and the handlers."""
        return host.loaded(lambda: compose(import_application(str(self.app_uri)), self.cfg))


if __name__ == "__main__":
    main()
