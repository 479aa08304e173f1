"""The tables of options and keys in `docs/api.md`, as the code has them.

python -m tests.docs.api_reference      write them into the page
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable

from gunicorn.config import make_settings

from flasknado.live.options import LiveOptions
from flasknado.process import settings
from flasknado.process.configuration import ENVIRONMENT_PREFIX
from flasknado.process.gunicorn_settings import HONOURED
from tests.docs import live_settings
from tests.docs.generated import Part, table
from tests.support.process import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "api.md"


def own_options() -> str:
    """Return a row for each option of this package's own."""
    rows = []
    for setting in settings.OWN:
        first_paragraph = inspect.cleandoc(setting.desc).partition("\n\n")[0]
        variable = f"`{ENVIRONMENT_PREFIX}{setting.name.upper()}`"
        rows.append((f"`{setting.cli[0]}`", variable, " ".join(first_paragraph.split())))
    return table(("option", "variable", "what it sets"), rows)


def gunicorn_options() -> str:
    """Return a row for each of gunicorn's settings that is honoured."""
    known = make_settings()
    rows = []
    for name, meaning in HONOURED.items():
        flags = ", ".join(f"`{flag}`" for flag in known[name].cli or ())
        rows.append((f"`{name}`", flags or "configuration file", meaning))
    return table(("setting", "option", "what it sets"), rows)


def live_keys() -> str:
    """Return a row for each key of `app.config`."""
    meanings = live_settings.meanings()
    rows = [
        (f"`LIVE_{option.name.upper()}`", meanings[option.name])
        for option in dataclasses.fields(LiveOptions)
    ]
    return table(("key", "what it sets"), rows)


def _part(name: str) -> Part:
    begin = f"<!-- {name}, written by python -m tests.docs.api_reference -->"
    return Part(PAGE, begin, f"<!-- end of {name} -->")


PARTS: dict[str, tuple[Part, Callable[[], str]]] = {
    "own options": (_part("own options"), own_options),
    "gunicorn's options": (_part("gunicorn's options"), gunicorn_options),
    "live keys": (_part("live keys"), live_keys),
}

if __name__ == "__main__":
    for part, text in PARTS.values():
        part.write(text())
