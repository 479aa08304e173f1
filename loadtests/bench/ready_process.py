"""A process of clients beside a measured server, from when it has said that it is ready."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence

from loadtests.bench import wrk
from loadtests.interrupts import held
from loadtests.processes import end_group, pinned
from loadtests.servers import ROOT


@contextlib.contextmanager
def ready_process(
    arguments: Sequence[str], core: int | None, deadline_s: float, failure: str
) -> Iterator[tuple[subprocess.Popen[str], threading.Timer]]:
    """Run `python ARGUMENTS` on a core during the block, once it has printed `ready`.

    With it comes what kills it after `deadline_s`, which the block may cancel. Raises
    `GeneratorFailed` with `failure` if it does not say that it is ready.
    """
    with contextlib.ExitStack() as stack:
        with held():
            process = subprocess.Popen(
                pinned(core, [sys.executable, *arguments]),
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
            raise wrk.GeneratorFailed(failure)
        yield process, deadline
