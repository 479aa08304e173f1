"""`docs/architecture.md` is true to the tree: files, threads, and the words of the glossary."""

from __future__ import annotations

import re

from tests.support.process import PROJECT_ROOT

PAGE = (PROJECT_ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGE = PROJECT_ROOT / "flasknado"
SOURCES = "\n".join(
    path.read_text(encoding="utf-8")
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "client.py"  # a program of its own
)


def test_every_file_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", PAGE))
    assert len(named) > 30
    missing = [name for name in named if not (PACKAGE / name).is_file()]
    assert [name for name in missing if not (PROJECT_ROOT / name).is_file()] == []


def test_every_thread_that_the_package_names_is_in_the_table() -> None:
    table = PAGE.partition("## Threads")[2].partition("\n## ")[0]
    threads = set(
        re.findall(
            r'(?:name(?:_prefix)?=|Thread\(\s*f?|__init__\(|OURS = )"(flasknado-[a-z-]+[a-z])',
            SOURCES,
        )
    )
    lanes = set(re.findall(r'LaneSettings\("([a-z-]+)"', SOURCES))
    assert len(threads) > 8
    assert [name for name in sorted(threads) if f"`{name}" not in table] == []
    assert [lane for lane in sorted(lanes) if f"-{lane}-N`" not in table] == []


def test_glossary_has_the_words_of_the_house() -> None:
    table = PAGE.partition("## Glossary")[2].partition("\n## ")[0]
    terms = set(re.findall(r"^\| ([a-z ]+) \|", table, re.MULTILINE))
    wanted = "half exchange hub cursor head ticket epoch offset lane sequencer evict kick"
    assert {*wanted.split(), "go away"} <= terms
