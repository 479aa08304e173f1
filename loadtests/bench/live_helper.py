"""A process of live clients beside a measured server: started, asked line by line, ended."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence

from loadtests.bench import wrk
from loadtests.bench.benchmark import Plan, Values
from loadtests.interrupts import held
from loadtests.processes import end_group, pinned
from loadtests.servers import ROOT

DEADLINE_S = 180.0


class Helper:
    """A process that has said `ready`, and answers each command with a line of JSON."""

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        self._process = process
        self._name = name

    def ask(self, command: str) -> Values:
        """Have a command done; raises `GeneratorFailed` if the process ends instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise wrk.GeneratorFailed(f"{self._name} ended at {command!r}")
        return {key: float(value) for key, value in json.loads(answer).items()}


@contextlib.contextmanager
def helping(module: str, arguments: Sequence[str], plan: Plan) -> Iterator[Helper]:
    """Run `python -m module` on the generator's core during the block, `DEADLINE_S` at most.

    Raises `GeneratorFailed` if it does not say `ready`.
    """
    command = [sys.executable, "-m", module, *arguments]
    with contextlib.ExitStack() as stack:
        with held():
            process = subprocess.Popen(
                pinned(plan.cores.generator, command),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                process_group=0,
            )
            stack.callback(end_group, process)
        assert process.stdin is not None
        assert process.stdout is not None
        stack.callback(process.stdout.close)
        stack.callback(process.stdin.close)
        deadline = threading.Timer(DEADLINE_S, process.kill)
        stack.callback(deadline.cancel)
        deadline.start()
        if process.stdout.readline().strip() != "ready":
            raise wrk.GeneratorFailed(f"{module} {' '.join(arguments)} did not get ready")
        yield Helper(process, module)
