"""`flasknado [options] MODULE:APP`: host any WSGI application, with native handlers beside it.

The command line is gunicorn's (`--bind`, `--workers`, `--config`, ...) with the options of
`flasknado.process.settings`.
"""

from __future__ import annotations

import sys

from gunicorn.errors import ConfigError

from flasknado.errors import ConfigurationError
from flasknado.process import serve, standard_streams
from flasknado.process.command_line import CommandLine


def main() -> None:
    """Run the command; ends the process."""
    standard_streams.open_missing()
    if sys.argv[1:2] == ["doctor"]:
        from flasknado.process.doctor import command

        command.main(sys.argv[2:])
    if sys.argv[1:2] == ["deploy"]:
        from flasknado.process.deploy import command as deploy

        deploy.main(sys.argv[2:])
    if sys.argv[1:2] == ["init"]:
        from flasknado.process.init import command as init

        init.main(sys.argv[2:])
    try:
        application = CommandLine("%(prog)s [OPTIONS] MODULE:APP", prog="flasknado")
        serve.check(application.cfg)
        application.run()
    except (ConfigurationError, ConfigError) as error:
        serve.fail(str(error))


if __name__ == "__main__":
    main()
