"""`docs/live.md` says what is so: its examples are run, its settings compared with the code."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from flasknado.live.event import RESERVED_NAMES
from flasknado.live.options import LiveOptions
from tests.docs import live_settings
from tests.docs.examples import PAGE, commands, curl, examples, flask, python, running_shop


def test_table_of_settings_is_the_one_of_the_code() -> None:
    assert live_settings.PART.shown() == live_settings.table(), (
        "run: python -m tests.docs.live_settings"
    )


def test_every_setting_that_the_page_names_exists() -> None:
    named = set(re.findall(r"\bLIVE_[A-Z_]+\b", PAGE.read_text()))
    options = {f"LIVE_{field.name.upper()}" for field in dataclasses.fields(LiveOptions)}
    assert named == options | {"LIVE_PUBLISH_TOKEN", "LIVE_LISTEN_DATABASE_URI"}


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
                    if command.startswith("curl "):
                        assert curl(server, command, len(printed), tmp_path) == printed
                        ran += 1
                    elif command.startswith("flask "):
                        assert flask(command, tmp_path) == printed
                        ran += 1
            elif example.language == "python":
                assert following is not None
                assert following.language == "text"
                assert python(server, example, tmp_path) == following.text
                ran += 1
    assert ran >= 14
