"""Tornado's own tests of server, handlers and WebSocket, on the llhttp layer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tornado_suite.excluded import EXCLUDED

ROOT = Path(__file__).resolve().parents[2]
TRIES = 3
"""How often what failed is run again, alone."""


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_tornado_suite_on_llhttp_layer_fails_exactly_what_is_excluded(loop: str) -> None:
    pytest.importorskip(loop)

    result = run(loop)
    assert result["ran"] > 500
    failed = set(result["failed"])
    unexpected = failed - EXCLUDED.keys()
    for _ in range(TRIES):
        if unexpected:
            # Tornado's tests wait for tenths of a second, which a busy machine may take.
            again = run(loop, *sorted(unexpected))
            unexpected = set(again["failed"])
    assert not unexpected, again["log"]
    assert not EXCLUDED.keys() - failed, "these pass and are excluded"


def run(loop: str, *tests: str) -> dict[str, Any]:
    """Return what became of all of Tornado's tests, or of some."""
    # Not measured by `make test COVERAGE=1`: these tests have deadlines of their own.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tests.tornado_suite.run", loop, *tests],
        cwd=ROOT,
        env={**env, "PYTHONPATH": os.pathsep.join(sys.path)},  # what these tests import
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
