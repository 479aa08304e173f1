"""The table of settings in `docs/live.md`, as the code has it.

python -m tests.docs.live_settings      write it into the page
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools

import flasknado.live.options
from flasknado.live.options import LiveOptions
from tests.docs import generated
from tests.docs.generated import Part
from tests.support.process import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "live.md"
PART = Part(
    PAGE,
    "<!-- settings, written by python -m tests.docs.live_settings -->",
    "<!-- end of settings -->",
)
_UNITS = {"_bytes": "bytes", "_events": "events", "_per_s": "a second", "_s": "seconds"}


def table() -> str:
    """Return a row for each setting, with the text that stands below its field."""
    texts = meanings()
    rows = []
    for option in dataclasses.fields(LiveOptions):
        unit = next((unit for end, unit in _UNITS.items() if option.name.endswith(end)), "")
        key = f"`LIVE_{option.name.upper()}`"
        rows.append((key, unit, default_of(option), texts[option.name]))
    return generated.table(("key", "unit", "default", "meaning"), rows)


def default_of(option: dataclasses.Field[object]) -> str:
    default = option.default
    if isinstance(default, (int, float)) and not isinstance(default, bool):
        return f"{default:,}"
    return f"`{default}`" if default else "none"


def meanings() -> dict[str, str]:
    tree = ast.parse(inspect.getsource(flasknado.live.options))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef))
    found: dict[str, str] = {}
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(field.target, ast.Name)
            assert isinstance(text.value, ast.Constant)
            found[field.target.id] = inspect.cleandoc(text.value.value).replace("\n", " ")
    return found


if __name__ == "__main__":
    PART.write(table())
