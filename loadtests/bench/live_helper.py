"""A process of live clients beside a measured server: started, asked line by line, ended."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, cast

from loadtests.bench import wrk
from loadtests.bench.benchmark import Values
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
        """Have a command done that is answered with numbers; raises `GeneratorFailed`."""
        return {key: float(value) for key, value in self.ask_json(command).items()}

    def ask_json(self, command: str) -> dict[str, Any]:
        """Have a command done; raises `GeneratorFailed` if the process ends instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise wrk.GeneratorFailed(f"{self._name} ended at {command!r}")
        return cast(dict[str, Any], json.loads(answer))


@contextlib.contextmanager
def helping(
    module: str, arguments: Sequence[str], core: int | None, deadline_s: float = DEADLINE_S
) -> Iterator[Helper]:
    """Run `python -m module` on a core during the block, `deadline_s` at most.

    Raises `GeneratorFailed` if it does not say `ready`.
    """
    command = [sys.executable, "-m", module, *arguments]
    with contextlib.ExitStack() as stack:
        with held():
            process = subprocess.Popen(
                pinned(core, command),
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
        deadline = threading.Timer(deadline_s, process.kill)
        stack.callback(deadline.cancel)
        deadline.start()
        if process.stdout.readline().strip() != "ready":
            raise wrk.GeneratorFailed(f"{module} {' '.join(arguments)} did not get ready")
        yield Helper(process, module)
