"""The environment variables that gunicorn reads by itself, checked before it reads them.

gunicorn reads `WEB_CONCURRENCY` while it is imported, and a bad value would be a traceback.
So this module imports nothing of it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

from flasknado.errors import ConfigurationError
from flasknado.http.networks import Networks


def check(environment: Mapping[str, str] = os.environ) -> None:
    """Raise `ConfigurationError` for a variable that gunicorn could not read."""
    workers = environment.get("WEB_CONCURRENCY")
    if workers is not None and not (workers.strip().isdecimal() and int(workers) > 0):
        raise ConfigurationError(
            f"WEB_CONCURRENCY is {workers!r}: it must be a whole number of workers, 1 or more"
        )
    proxies = environment.get("FORWARDED_ALLOW_IPS", "")
    Networks([each.strip() for each in proxies.split(",") if each.strip()], "FORWARDED_ALLOW_IPS")
    arguments = environment.get("GUNICORN_CMD_ARGS", "")
    try:
        shlex.split(arguments)
    except ValueError as error:
        raise ConfigurationError(
            f"GUNICORN_CMD_ARGS is {arguments!r}, which cannot be split into arguments: "
            f"{str(error).lower()}"
        ) from None


def check_port(binds: list[str], environment: Mapping[str, str] = os.environ) -> None:
    """Raise `ConfigurationError` if `PORT` names the port to listen on, and is none.

    binds: gunicorn's setting; any other one than `0.0.0.0:PORT` goes before the variable.
    """
    port = environment.get("PORT")
    if port is None or binds != [f"0.0.0.0:{port}"]:
        return
    if not (port.isdecimal() and port.isascii() and int(port) <= 65535):
        raise ConfigurationError(
            f"PORT is {port!r}: it must be a whole number from 0 to 65535; "
            f"unset it, or name the address with --bind"
        )
