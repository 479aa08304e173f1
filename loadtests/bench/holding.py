"""A process of clients that hold connections open while something else is measured."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence

from loadtests.bench.benchmark import Plan
from loadtests.bench.ready_process import ready_process

OPEN_TIMEOUT_S = 90.0


@contextlib.contextmanager
def holding(arguments: Sequence[str], what: str, plan: Plan) -> Iterator[subprocess.Popen[str]]:
    """Run `python ARGUMENTS`, which says `ready` when all are open, during the block.

    Raises `GeneratorFailed` if it does not say so.
    """
    process = ready_process(
        arguments, plan.cores.generator, OPEN_TIMEOUT_S, f"{what} could not be opened"
    )
    with process as (helper, deadline):
        deadline.cancel()
        yield helper


def close(helper: subprocess.Popen[str]) -> int:
    """Close the connections; returns how many were still open."""
    answer, _ = helper.communicate(timeout=OPEN_TIMEOUT_S)
    return int(answer.strip() or 0)
