"""The table of settings in `docs/settings.md`, written from the model.

python -m config.reference > docs/settings.md
"""

from __future__ import annotations

import sys

from config.settings import Settings

_HEAD = """\
# Settings

Each setting is an environment variable, or a `NAME=value` line in `.env` in the project's root;
the environment wins. An empty variable counts as unset, variables of other programs are ignored,
and a bad value stops the start with one sentence that says what to write instead.

This page is written from the model in `config/settings.py`, by `python -m config.reference`.

| variable | unit | default | meaning | rule |
|---|---|---|---|---|
"""


def page() -> str:
    """Return the text of `docs/settings.md`."""
    return _HEAD + "".join(_rows())


def _rows() -> list[str]:
    rows = []
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        default = extra["shown_default"] or f"`{field.default}`"
        cells = (f"`{name.upper()}`", extra["unit"], default, field.description, extra["rule"])
        rows.append("| " + " | ".join(map(str, cells)) + " |\n")
    return rows


if __name__ == "__main__":
    sys.stdout.write(page())
