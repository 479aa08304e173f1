"""`docs/security.md` names what keeps its promises: attacks, tests and settings that there are."""

from __future__ import annotations

import re

from flasknado.http.limits import Limits
from flasknado.live.options import LiveOptions
from tests.siege.attacks import ATTACKS
from tests.siege.attacks.calm import CALM
from tests.support.process import PROJECT_ROOT

TEXT = (PROJECT_ROOT / "docs/security.md").read_text(encoding="utf-8")
PROMISES = TEXT.partition("## What is promised\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of the rows of all tables, without their headings."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rules = [at for at, line in enumerate(lines) if line.startswith("|---")]
    headings = {at - 1 for at in rules} | set(rules)
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for at, line in enumerate(lines)
        if at not in headings
    ]


def test_every_promise_names_a_test_that_there_is() -> None:
    promises = rows(PROMISES)
    assert len(promises) > 20
    for attack, _what, _siege, tests in promises:
        named = re.findall(r"`(tests/[\w/.]+)`", tests)
        assert named, attack
        assert [path for path in named if not (PROJECT_ROOT / path).exists()] == [], attack


def test_page_names_every_attack_of_the_siege_and_no_other() -> None:
    named = {name for row in rows(PROMISES) for name in re.findall(r"`([\w-]+)`", row[2])}
    assert named == set(ATTACKS) - {CALM}


def test_settings_that_the_page_names_are_in_the_pages_of_settings() -> None:
    operations = (PROJECT_ROOT / "docs/operations.md").read_text(encoding="utf-8")
    settings = (PROJECT_ROOT / "docs/settings.md").read_text(encoding="utf-8")
    live = (PROJECT_ROOT / "docs/live.md").read_text(encoding="utf-8")
    known = operations + settings + live
    named = set(re.findall(r"`(--[a-z-]+|[A-Z]+(?:_[A-Z]+)+)`", TEXT))
    assert len(named) > 25
    assert [name for name in sorted(named) if f"`{name}" not in known] == []


def test_bounds_are_those_of_the_code() -> None:
    limits, live = Limits(), LiveOptions()
    bounds = {cells[0]: cells[1] for cells in rows(TEXT.partition("## What is bounded")[2])}
    assert bounds["a head"] == (
        f"{limits.max_head_bytes // 1024} KiB, {limits.max_fields} fields, "
        f"a target of {limits.max_target_bytes // 1024} KiB"
    )
    assert bounds["the time of a head"] == f"{limits.header_timeout_s:.0f} s"
    assert bounds["the rate of a body"] == (
        f"{limits.min_body_rate_bytes_s:.0f} bytes/s in each {limits.body_timeout_s:.0f} s"
    )
    assert bounds["the rate of a response"] == (
        f"{limits.min_write_rate_bytes_s:.0f} bytes/s in each {limits.write_timeout_s:.0f} s"
    )
    assert bounds["requests read ahead"] == f"{limits.pipeline_limit} of a connection"
    assert bounds["messages of a live client"] == (
        f"{live.max_message_bytes // 1024} KiB, {live.max_messages_per_s:.0f} a second"
    )
    assert bounds["what a live client has not read"] == (
        f"{live.backlog_limit_bytes // 1024 // 1024} MiB"
    )
