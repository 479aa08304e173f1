"""The floors of branch coverage that CI holds (`make test-lowest`)."""

from __future__ import annotations

from typing import Any

from tests.support.branch_coverage import FLOORS, reached
from tests.support.process import PROJECT_ROOT


def counted(lines: int, branches: int, *, lines_missing: int = 0) -> dict[str, Any]:
    summary = {"covered_lines": lines, "covered_branches": branches}
    summary |= {"missing_lines": lines_missing, "missing_branches": 0}
    return {"summary": summary}


def test_floor_belongs_to_a_folder_of_the_package() -> None:
    assert all(any((PROJECT_ROOT / folder).glob("*.py")) for folder in FLOORS)


def test_module_without_tests_costs_its_folder_its_share() -> None:
    files = {
        "flasknado/wsgi/run.py": counted(60, 20),
        "flasknado/wsgi/watch.py": counted(5, 0, lines_missing=15),
        "flasknado/http/head.py": counted(9, 1),
    }

    assert reached(files) == {"flasknado/wsgi": 85.0, "flasknado/http": 100.0}
