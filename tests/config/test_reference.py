"""`docs/settings.md` and the model say the same."""

from __future__ import annotations

import re
from pathlib import Path

from config import Settings
from config.reference import page

ROOT = Path(__file__).resolve().parents[2]


def test_reference_page_equals_the_model() -> None:
    written = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")

    assert written == page(), "run: python -m config.reference > docs/settings.md"


def test_reference_table_has_every_setting_with_unit_default_and_meaning() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", page(), re.M)

    assert [row[0].lower() for row in rows] == list(Settings.model_fields)
