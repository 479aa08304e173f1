"""The tables of settings in `docs/operations.md`: `python -m flasknado.process.reference`.

Written from the settings themselves, and held equal to the page by a test.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gunicorn.config import make_settings

from flasknado.process import settings
from flasknado.process.configuration import ENVIRONMENT_PREFIX
from flasknado.process.gunicorn_settings import HONOURED, REPLACEMENTS
from flasknado.process.options import default_of, meaning


def own_settings() -> str:
    """Return the table of this server's own settings."""
    rows = []
    for setting in settings.OWN:
        flag = f"`{' '.join(filter(None, (setting.cli[0], setting.meta)))}`"
        variable = f"`{ENVIRONMENT_PREFIX}{setting.name.upper()}`"
        rows.append((flag, variable, _shown(setting), meaning(setting)))
    return _table(("option", "variable", "default", "meaning"), rows)


def gunicorn_settings() -> str:
    """Return the table of gunicorn's settings that are honoured."""
    known: dict[str, Any] = make_settings()
    rows = []
    for name in HONOURED:
        setting = known[name]
        flags = ", ".join(f"`{flag}`" for flag in setting.cli or ()) or "configuration file"
        rows.append((f"`{name}`", flags, _shown(setting), meaning(setting)))
    return _table(("setting", "option", "default", "meaning"), rows)


def refused_settings() -> str:
    """Return the table of gunicorn's settings that are refused, with what to do instead."""
    rows = [(f"`{name}`", instead) for name, instead in REPLACEMENTS.items()]
    return _table(("setting", "instead"), rows)


def _shown(setting: Any) -> str:
    shown = default_of(setting)
    return f"`{shown}`" if shown else ""


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, *rows]
    texts = [f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines]
    return "\n".join([texts[0], "|---" * len(heads) + "|", *texts[1:]])


if __name__ == "__main__":
    tables = (own_settings(), gunicorn_settings(), refused_settings())
    print(*tables, sep="\n\n")  # noqa: T201 (a command's answer)
