"""The command `flasknado doctor`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

from flasknado.errors import ConfigurationError
from flasknado.process.configuration import HostedConfig
from flasknado.process.doctor.application import examine
from flasknado.process.doctor.configuration import Examined
from flasknado.process.doctor.findings import Finding, Weight, status_of, text_of
from flasknado.process.doctor.rewrite import made, rewritten

NEW_FILE = "flasknado.conf.py"
WRITE = "--write"

PATIENCE_S = 20.0
"""How long the import of the application may take."""


def main(arguments: list[str]) -> NoReturn:
    """Print what will be different here, and end with 0, 1 (will not start) or 2 (will differ).

    arguments: the command line after `doctor`. With `--write` a new configuration file is
    written beside the old one, unless one exists, and printed.
    """
    writes = WRITE in arguments
    sys.argv = [sys.argv[0], *(each for each in arguments if each != WRITE)]
    try:
        examined = Examined(f"%(prog)s [{WRITE}] [OPTIONS] MODULE:APP", prog="flasknado doctor")
    except ConfigurationError as error:
        _say(text_of([Finding(Weight.STOPS, str(error))]))
        raise SystemExit(1) from None
    findings = examined.cfg.findings
    findings += examine(str(examined.app_uri), examined.cfg, PATIENCE_S)
    _say(text_of(findings))
    if writes:
        _write(examined)
    raise SystemExit(status_of(findings))


def _write(examined: Examined) -> None:
    """Write the new configuration file, and print it."""
    old = examined.config_file
    new = (old.parent if old is not None else Path.cwd()) / NEW_FILE
    if old is not None:
        reasons = {
            finding.setting: finding.sentence
            for finding in examined.cfg.findings
            if finding.setting is not None and finding.weight is Weight.STOPS
        }
        text = rewritten(old.read_text(), reasons, old.name, new.name)
    else:
        text = made(_values(examined), new.name)
    try:
        with new.open("x") as file:
            file.write(text)
    except FileExistsError:
        _say(f"\n{new} exists already and was not changed. The new one would be:\n")
    else:
        _say(f"\n{new} has been written:\n")
    _say(text.rstrip("\n"))


def _values(examined: Examined) -> dict[str, object]:
    """Return what the command line and the environment set, apart from bad values."""
    bad = {finding.setting for finding in examined.cfg.findings}
    values: dict[str, object] = {"wsgi_app": examined.app_uri}
    ordinary = HostedConfig()
    ordinary.apply_defaults({})
    for name, setting in examined.cfg.settings.items():
        value = setting.get()
        plain = isinstance(value, str | int | float | bool | list | dict)
        if (
            plain
            and value != ordinary.settings[name].get()
            and name not in (*bad, "config", "wsgi_app", "chdir")
        ):
            values[name] = value
    return values


def _say(text: str) -> None:
    print(text)  # noqa: T201 (the user's terminal)
