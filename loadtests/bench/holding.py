"""A process of clients that hold connections open while something else is measured."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence

from loadtests.bench import wrk
from loadtests.bench.benchmark import Plan
from loadtests.interrupts import held
from loadtests.processes import end_group, pinned
from loadtests.servers import ROOT

OPEN_TIMEOUT_S = 90.0


@contextlib.contextmanager
def holding(arguments: Sequence[str], what: str, plan: Plan) -> Iterator[subprocess.Popen[str]]:
    """Run `python ARGUMENTS`, which says `ready` when all are open, during the block.

    Raises `GeneratorFailed` if it does not say so.
    """
    with contextlib.ExitStack() as stack:
        with held():
            helper = subprocess.Popen(
                pinned(plan.cores.generator, [sys.executable, *arguments]),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                process_group=0,
            )
            stack.callback(end_group, helper)
        assert helper.stdin is not None
        assert helper.stdout is not None
        stack.callback(helper.stdout.close)
        stack.callback(helper.stdin.close)
        deadline = threading.Timer(OPEN_TIMEOUT_S, helper.kill)
        stack.callback(deadline.cancel)
        deadline.start()
        if helper.stdout.readline().strip() != "ready":
            raise wrk.GeneratorFailed(f"{what} could not be opened")
        deadline.cancel()
        yield helper


def close(helper: subprocess.Popen[str]) -> int:
    """Close the connections; returns how many were still open."""
    answer, _ = helper.communicate(timeout=OPEN_TIMEOUT_S)
    return int(answer.strip() or 0)
