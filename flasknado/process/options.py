"""The options of the command line, and `--help`.

Our options come first and gunicorn's after them, with our defaults. Options that are refused
are parsed, so that the refusal can name a replacement, but not listed.
"""

from __future__ import annotations

import argparse
import inspect
import os
from typing import Any, NoReturn

import gunicorn

from flasknado import __version__
from flasknado.errors import ConfigurationError
from flasknado.process import settings
from flasknado.process.configuration import HostedConfig
from flasknado.process.gunicorn_settings import HONOURED

OF_THE_MACHINE = ("chdir", "control_socket", "group", "syslog_addr", "user")
"""Settings whose default depends on where the server runs."""

DESCRIPTION = """\
Serve a WSGI application, such as a Flask app, with native Tornado handlers beside it."""

EPILOG = """\
Every option can also be set in a configuration file (--config), in GUNICORN_CMD_ARGS, or as
FLASKNADO_<NAME> in the environment. The command line takes precedence. See docs/operations.md.
Other commands, each with a --help of its own: flasknado init NAME writes a project to begin with,
flasknado doctor MODULE:APP says what will be different after gunicorn, and flasknado deploy KIND
MODULE:APP prints files to deploy with."""

_UNITS = (("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10))


class CommandLineConfig(HostedConfig):
    """gunicorn's settings and ours, with a command line of our own."""

    def __str__(self) -> str:
        """Return the settings, for `--print-config`: without the token."""
        text: str = super().__str__()
        token = self.settings["metrics_token"].get()
        return text.replace(token, "***") if token else text

    def parser(self) -> argparse.ArgumentParser:
        """Return the parser of the command line; values stay text until they are assigned."""
        parser = argparse.ArgumentParser(
            prog=self.prog, usage=self.usage, description=DESCRIPTION, epilog=EPILOG
        )
        version = f"flasknado {__version__} (gunicorn {gunicorn.__version__})"
        parser.add_argument("-v", "--version", action="version", version=version)
        parser.add_argument(
            "args",
            metavar="MODULE:APP",
            nargs="?",
            help="the application: an object of a module, or a call of a factory such as "
            "'shop:create_app()'",
        )
        own = parser.add_argument_group("Flasknado options")
        for setting in settings.OWN:
            _add(own, self.settings[setting.name], meaning(setting))
        honoured = parser.add_argument_group("gunicorn options")
        for name in [name for name in HONOURED if name in self.settings]:
            _add(honoured, self.settings[name], meaning(self.settings[name]))
        for name in self.settings.keys() - HONOURED.keys() - {own.name for own in settings.OWN}:
            _add(parser, self.settings[name], None)
        return parser

    def environment_arguments(self) -> argparse.Namespace:
        """Return the arguments of `GUNICORN_CMD_ARGS`; raises `ConfigurationError`."""

        def fail(message: str) -> NoReturn:
            text = os.environ.get("GUNICORN_CMD_ARGS", "")
            raise ConfigurationError(f"GUNICORN_CMD_ARGS is {text!r}: {message}")

        parser = self.parser()
        parser.error = fail  # type: ignore[method-assign]  # instead of ending the process
        return parser.parse_args(self.get_cmd_args_from_env())


def meaning(setting: Any) -> str:
    """Return what a setting does, on one line."""
    return HONOURED.get(setting.name) or " ".join(inspect.cleandoc(setting.desc).split())


def default_of(setting: Any) -> str:
    """Return the default of a setting here, as a user would write it; empty if there is none."""
    default = settings.DEFAULTS.get(setting.name, setting.default)
    if setting.name in OF_THE_MACHINE or callable(default) or default is None:
        return ""
    if setting.name in ("control_socket_mode", "umask"):
        return f"{default:#05o}"
    if setting.meta == "SIZE":
        return _size(default)
    if isinstance(default, (list, tuple)):
        return ",".join(map(str, default))
    if isinstance(default, float):
        return f"{default:g}"
    return str(default)


def _size(size_bytes: int) -> str:
    for unit, factor in _UNITS:
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return str(size_bytes)


def _add(parser: Any, setting: Any, text: str | None) -> None:
    """Add the option of a setting to a parser; without a text it is not listed."""
    if not setting.cli:
        return
    keywords: dict[str, Any] = {"dest": setting.name, "action": setting.action or "store"}
    takes_value = keywords["action"] in ("store", "append")
    if takes_value:
        keywords |= {"metavar": setting.meta, "nargs": setting.nargs, "const": setting.const}
    default = default_of(setting) if takes_value else ""
    shown = f"{text} [default: {default}]" if text and default else text
    keywords["help"] = argparse.SUPPRESS if shown is None else shown.replace("%", "%%")
    parser.add_argument(*setting.cli, default=None, **keywords)
