"""What the documents and CI say of `make` is in the Makefile."""

from __future__ import annotations

import re

import pytest

from tests.support.process import PROJECT_ROOT

MAKEFILE = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
HELP = re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE)
PAGES = sorted((*PROJECT_ROOT.glob("*.md"), *PROJECT_ROOT.glob("docs/**/*.md")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_targets_that_a_page_names_exist(page: object) -> None:
    text = (PROJECT_ROOT / str(page)).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^ {4}|^\$ )make ([a-z-]+)\b", text, re.MULTILINE))

    assert named <= TARGETS


def test_help_begins_with_itself_and_stays_short() -> None:
    assert HELP[0] == "help"
    assert len(HELP) <= 15


def test_ci_runs_targets_that_help_lists() -> None:
    script = (PROJECT_ROOT / ".ci" / "run").read_text(encoding="utf-8")
    commands = re.findall(r"^(?:[A-Z_]+=\S+ )?(?:tested )?make (.*)$", script, re.MULTILINE)
    run = {word for word in " ".join(commands).split() if re.fullmatch(r"[a-z][a-z-]*", word)}

    assert {"install", "lint", "test", "test-compiled", "test-lowest"} <= run
    assert run <= set(HELP)
