"""`docs/live.md` says what is so: its examples are run, its settings compared with the code."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
from pathlib import Path

import flasknado.live.options
from flasknado.live.event import RESERVED_NAMES
from flasknado.live.options import LiveOptions
from tests.docs.examples import PAGE, commands, curl, examples, python, running_shop

_UNITS = {"_bytes": "bytes", "_events": "events", "_per_s": "per second", "_s": "seconds"}


def settings_table() -> str:
    """Return the table of settings as the code has it: each with the text below its field."""
    tree = ast.parse(inspect.getsource(flasknado.live.options))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef))
    meanings: dict[str, str] = {}
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(field.target, ast.Name)
            assert isinstance(text.value, ast.Constant)
            meanings[field.target.id] = inspect.cleandoc(text.value.value).replace("\n", " ")
    rows = ["| key | unit | default | meaning |", "|---|---|---|---|"]
    for option in dataclasses.fields(LiveOptions):
        unit = next((unit for end, unit in _UNITS.items() if option.name.endswith(end)), "")
        default = f"{option.default:,}" if isinstance(option.default, (int, float)) else "none"
        meaning = meanings[option.name]
        rows.append(f"| `LIVE_{option.name.upper()}` | {unit} | {default} | {meaning} |")
    return "\n".join(rows)


def test_table_of_settings_is_the_one_of_the_code() -> None:
    begin, end = "<!-- settings -->\n", "<!-- end of settings -->"
    shown = PAGE.read_text().partition(begin)[2].partition(end)[0].strip()
    assert shown == settings_table(), "put the table of the code on the page"


def test_every_setting_that_the_page_names_exists() -> None:
    named = set(re.findall(r"\bLIVE_[A-Z_]+\b", PAGE.read_text()))
    assert named == {f"LIVE_{field.name.upper()}" for field in dataclasses.fields(LiveOptions)}


def test_every_reserved_name_is_on_the_page() -> None:
    text = PAGE.read_text()
    assert [name for name in sorted(RESERVED_NAMES) if f"`{name}`" not in text] == []


def test_examples_print_what_the_page_says(tmp_path: Path) -> None:
    ran = 0
    page = examples()
    with running_shop(tmp_path) as server:
        for example, following in zip(page[1:], [*page[2:], None], strict=True):
            if example.language == "console":
                for command, printed in commands(example):
                    if command.startswith("curl"):
                        assert curl(server, command, len(printed)) == printed
                        ran += 1
            elif example.language == "python":
                assert following is not None
                assert following.language == "text"
                assert python(server, example, tmp_path) == following.text
                ran += 1
    assert ran >= 7
