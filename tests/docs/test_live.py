"""`docs/live.md` says what is so: its examples are run, its settings compared with the code."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from flasknado.live.event import RESERVED_NAMES
from flasknado.live.options import LiveOptions
from tests.docs import live_settings
from tests.docs.live_settings import PAGE
from tests.docs.walkthrough import Walk, blocks


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
    page = blocks("docs/live.md")
    with Walk(tmp_path) as walk:
        walk.follow(page)
    assert len(walk.ran) >= 17
