"""The README's table of `make bench`, from a stored run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loadtests.bench import publish
from loadtests.bench.publish import BEGINS, ENDS, TITLES
from loadtests.publish import CannotPublish
from loadtests.servers import ROOT, SERVERS

RATES = {
    "flasknado-compiled": 1500,
    "granian": 1000,
    "flasknado": 1200,
    "bjoern": 1400,
    "cheroot": 9,
}


def run(**changes: Any) -> dict[str, Any]:
    machine = {"date": "2026-11-25", "processor": "A processor", "cores": 2, "system": "Linux"}
    rounds = {
        name: [{"per_second": rate + n, "p99_ms": 3.25, "failures": 0} for n in (0, 1, 2)]
        for name, rate in RATES.items()
    }
    return {
        "machine": {
            **machine,
            "python": "3.11",
            "generator_core": 1,
            "load_average_at_start": 0.1,
        },
        "plan": {"rounds": 3, "seconds": 3.0},
        "failed": {},
        "benchmarks": [{"name": "hello", "rounds": rounds, "failed": {}}],
        **changes,
    }


def store(data: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(data))


def test_two_groups_are_written_between_the_marks_best_first(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n\n{BEGINS}old\n{ENDS}\nafter\n")
    store(run(), tmp_path / "run")

    publish.publish(publish.load(tmp_path / "run"), page)

    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    others, one_thread = text.split("Servers with one thread")
    assert [line.split("|")[1].strip() for line in others.splitlines() if "|" in line][2:] == [
        "**Flasknado, compiled**",
        "**Flasknado**",
        "Granian (Rust)",
        "cheroot",
    ]
    assert "| **Flasknado, compiled** | **1,501** | **3.2** |" in " ".join(others.split())
    assert "| bjoern (C) | 1,401 | 3.2 | 1.07 |" in " ".join(one_thread.split())
    assert "Medians of 3 interleaved rounds of 3 s; 2026-11-25, A processor" in others


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"plan": {"rounds": 1, "seconds": 3.0}}, "3 rounds or more"),
        ({"failed": {"granian": "answers otherwise"}}, "without failures is shown: granian"),
        ({"benchmarks": []}, "with flasknado, flasknado-compiled and others"),
    ],
)
def test_run_that_says_little_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(CannotPublish, match=why):
        publish.as_short_markdown(run(**changes))


def test_newest_run_is_of_those_that_have_the_benchmark(tmp_path: Path) -> None:
    with pytest.raises(CannotPublish, match="make bench"):
        publish.newest(tmp_path)
    store(run(), tmp_path / "2026-11-24")
    store(run(benchmarks=[{"name": "native", "rounds": {}, "failed": {}}]), tmp_path / "2026-11-25")
    assert publish.newest(tmp_path).name == "2026-11-24"


def test_every_server_has_a_title_and_the_readme_has_the_marks() -> None:
    assert set(TITLES) == set(SERVERS)
    page = (ROOT / "README.md").read_text()
    assert page.index(BEGINS) < page.index(ENDS)
