"""Branch coverage of the package by what `make test-lowest` runs, cheap enough for CI.

`PYTEST_PLUGINS` loads this before anything of the package is imported, in each of xdist's workers.
slipcover counts in the modules' own bytecode, at a fraction of the cost of a tracer such as
coverage.py's. Servers in processes of their own are not counted: see `make test COVERAGE=1`.

`python -m tests.support.branch_coverage` fails if the tests reach less of a folder than its floor.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

PACKAGE = "flasknado"
COUNTS = Path(__file__).parents[2] / "var" / "branch-coverage"

FLOORS: Mapping[str, float] = {
    "flasknado": 86,
    "flasknado/http": 82,
    "flasknado/live": 95,
    "flasknado/live/cache": 90,
    "flasknado/live/endpoints": 91,
    "flasknado/live/hub": 93,
    "flasknado/live/log": 94,
    "flasknado/live/runs": 89,
    "flasknado/native": 87,
    "flasknado/socketio": 89,
    "flasknado/socketio/engineio": 88,
    "flasknado/stock": 85,
    "flasknado/websocket": 92,
    "flasknado/wsgi": 90,
}
"""How many percent of the lines and branches of a folder's own files must be reached.

A few points below what is reached, so that a module of usual size that loses its tests is seen.
Folders that are left out are tested mostly in processes of their own, or by `make test` alone.
"""


class Counting:
    """Counts in the modules of the package that are imported from now on."""

    def __init__(self, worker: str) -> None:
        import slipcover  # of requirements/lowest.txt alone

        self._worker = worker
        self._counts = slipcover.Slipcover(branch=True)
        slipcover.ImportManager(self._counts, slipcover.FileMatcher([PACKAGE])).__enter__()

    def pytest_sessionfinish(self) -> None:
        COUNTS.mkdir(parents=True, exist_ok=True)
        (COUNTS / f"{self._worker}.json").write_text(json.dumps(self._counts.get_coverage()))


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None:
        early_config.pluginmanager.register(Counting(worker))


def merged(paths: list[Path]) -> dict[str, Any]:
    """Return the counts of all workers as one, by file."""
    import slipcover

    first, *others = (json.loads(path.read_text()) for path in paths)
    for counts in others:
        slipcover.merge_coverage(first, counts)
    files: dict[str, Any] = first["files"]
    return files


def reached(files: Mapping[str, Any]) -> dict[str, float]:
    """Return how many percent of each folder's lines and branches were reached."""
    covered: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    for name, file in files.items():
        folder = str(Path(name).parent)
        covered[folder] += file["summary"]["covered_lines"] + file["summary"]["covered_branches"]
        missing[folder] += file["summary"]["missing_lines"] + file["summary"]["missing_branches"]
    return {
        folder: 100 * covered[folder] / (covered[folder] + missing[folder]) for folder in covered
    }


def main() -> int:
    percents = reached(merged(sorted(COUNTS.glob("*.json"))))
    low = 0
    for folder, floor in FLOORS.items():
        percent = percents.get(folder, 0.0)
        below = percent < floor
        low += below
        note = f", below its floor of {floor} %" if below else ""
        sys.stdout.write(f"{folder:28} {percent:5.1f} %{note}\n")
    if low:
        sys.stdout.write("Tests are missing, or were skipped: see FLOORS in this module.\n")
    return min(low, 1)


if __name__ == "__main__":
    sys.exit(main())
