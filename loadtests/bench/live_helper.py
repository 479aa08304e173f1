"""A process of live clients beside a measured server: started, asked line by line, ended."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any, cast

from loadtests.bench import wrk
from loadtests.bench.benchmark import Values
from loadtests.bench.ready_process import ready_process

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
    failure = f"{module} {' '.join(arguments)} did not get ready"
    with ready_process(["-m", module, *arguments], core, deadline_s, failure) as (process, _):
        yield Helper(process, module)
