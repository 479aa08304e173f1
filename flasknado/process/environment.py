"""The environment variables that gunicorn itself reads, checked before it does.

gunicorn reads `WEB_CONCURRENCY` while it is imported, where a bad value raises a traceback;
so this module does not import gunicorn.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

from flasknado.errors import ConfigurationError
from flasknado.http.networks import Networks


def check(environment: Mapping[str, str] = os.environ) -> None:
    """Raise `ConfigurationError` for a variable with a bad value."""
    workers = environment.get("WEB_CONCURRENCY")
    if workers is not None and not (workers.strip().isdecimal() and int(workers) > 0):
        raise ConfigurationError(
            f"WEB_CONCURRENCY must be a whole number, 1 or more, not {workers!r}"
        )
    proxies = environment.get("FORWARDED_ALLOW_IPS", "")
    Networks([each.strip() for each in proxies.split(",") if each.strip()], "FORWARDED_ALLOW_IPS")
    arguments = environment.get("GUNICORN_CMD_ARGS", "")
    try:
        shlex.split(arguments)
    except ValueError as error:
        raise ConfigurationError(
            f"GUNICORN_CMD_ARGS is {arguments!r}: {str(error).lower()}"
        ) from None


def check_port(binds: list[str], environment: Mapping[str, str] = os.environ) -> None:
    """Raise `ConfigurationError` if `PORT` is the port to listen on and has a bad value.

    binds: gunicorn's setting; anything but `0.0.0.0:PORT` overrides the variable.
    """
    port = environment.get("PORT")
    if port is None or binds != [f"0.0.0.0:{port}"]:
        return
    if not (port.isdecimal() and port.isascii() and int(port) <= 65535):
        raise ConfigurationError(
            f"PORT must be a whole number from 0 to 65535, not {port!r}: correct it, or use --bind"
        )


def script_name(environment: Mapping[str, str] = os.environ) -> str:
    """Return the mount that `SCRIPT_NAME` names, as gunicorn reads it; raises `ConfigurationError`.

    In the worker that includes what `--env` sets.
    """
    text = environment.get("SCRIPT_NAME", "")
    if text and not text.startswith("/"):
        raise ConfigurationError(
            f"SCRIPT_NAME must begin with a slash, such as /shop, not {text!r}"
        )
    return text.rstrip("/")
