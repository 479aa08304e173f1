"""`python -m flasknado [options] MODULE:APP`, and the command `flasknado`."""

from __future__ import annotations

import sys

from flasknado.errors import ConfigurationError
from flasknado.process import environment, standard_streams


def main() -> None:
    """Run the command; ends the process."""
    standard_streams.open_missing()
    try:
        environment.check()
    except ConfigurationError as error:
        print(f"flasknado: {error}", file=sys.stderr)  # noqa: T201 (the user's terminal)
        raise SystemExit(1) from None
    from flasknado.process import cli  # gunicorn reads the environment while it is imported

    cli.main()


if __name__ == "__main__":
    main()
