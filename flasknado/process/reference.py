"""The tables of settings in `docs/operations.md`: `python -m flasknado.process.reference`.

Written from the settings themselves, and held equal to the page by a test.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from gunicorn.config import make_settings

from flasknado.process import settings
from flasknado.process.gunicorn_settings import HONOURED, REPLACEMENTS

OF_THE_MACHINE = ("chdir", "control_socket", "group", "syslog_addr", "user")
"""Settings whose default depends on where the server runs."""


def own_settings() -> str:
    """Return the table of this server's own settings."""
    rows = []
    for setting in settings.OWN:
        meaning = " ".join(inspect.cleandoc(setting.desc).split())
        flag = f"`{setting.cli[0]} {setting.meta}`"
        variable = f"`{settings.ENVIRONMENT_PREFIX}{setting.name.upper()}`"
        rows.append((flag, variable, _shown(setting.default), meaning))
    return _table(("option", "variable", "default", "meaning"), rows)


def gunicorn_settings() -> str:
    """Return the table of gunicorn's settings that are honoured."""
    known: dict[str, Any] = make_settings()
    rows = []
    for name, meaning in HONOURED.items():
        setting = known[name]
        flags = ", ".join(f"`{flag}`" for flag in setting.cli or ()) or "configuration file"
        default = settings.DEFAULTS.get(name, setting.default)
        if name == "umask":
            default = f"{default:#05o}"
        shown = "" if callable(default) or name in OF_THE_MACHINE else _shown(default)
        rows.append((f"`{name}`", flags, shown, meaning))
    return _table(("setting", "option", "default", "meaning"), rows)


def refused_settings() -> str:
    """Return the table of gunicorn's settings that are refused, with what to do instead."""
    rows = [(f"`{name}`", instead) for name, instead in REPLACEMENTS.items()]
    return _table(("setting", "instead"), rows)


def _shown(default: object) -> str:
    if default is None or default in ("", (), [], {}):
        return ""
    return f"`{default}`"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, *rows]
    texts = [f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines]
    return "\n".join([texts[0], "|---" * len(heads) + "|", *texts[1:]])


if __name__ == "__main__":
    tables = (own_settings(), gunicorn_settings(), refused_settings())
    print(*tables, sep="\n\n")  # noqa: T201 (a command's answer)
