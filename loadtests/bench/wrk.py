"""The load generator wrk: run, and read.

wrk sends the next request on a connection when the last is answered, so its latencies are those
of a closed loop: they say nothing of what arrives while a server stands still.
"""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.interrupts import held
from loadtests.processes import end_group, pinned

INSTALL_WRK = "apt-get install wrk"
BUSY_GENERATOR = 0.9
"""The share of its core above which the generator, not the server, may be the limit."""
_SCRIPT = Path(__file__).with_name("wrk_report.lua")
_TIMEOUT_S = 10
_GRACE_S = 20.0


class GeneratorFailed(Exception):
    """wrk did not run or did not report."""


@dataclass(frozen=True)
class Load:
    """How much wrk asks: connections that are kept open, for so many seconds."""

    connections: int = 32
    seconds: float = 5.0


@dataclass(frozen=True)
class Report:
    """What wrk saw. `generator_share` is the processor time it used of its core.

    `failures` are connections that failed, answers that did not come, and `refusals`, answers
    other than 2xx and 3xx.
    """

    requests: int
    refusals: int
    duration_s: float
    failures: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    generator_share: float

    @property
    def per_second(self) -> float:
        """Successful requests a second."""
        return (self.requests - self.refusals) / self.duration_s if self.duration_s else 0.0


def find() -> str | None:
    """Return wrk's path, or `None` if it is not installed."""
    return shutil.which("wrk")


def run(url: str, load: Load, core: int | None = None) -> Report:
    """Load a URL and return the report; raises `GeneratorFailed`."""
    with started(url, load, core) as process:
        return finish(process, load)


@contextlib.contextmanager
def started(url: str, load: Load, core: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run wrk beside the block, which may call `finish()`; it is ended with the block."""
    command = [
        *("wrk", "--threads", "1", "--connections", str(load.connections)),
        *("--duration", f"{max(round(load.seconds), 1)}s", "--timeout", f"{_TIMEOUT_S}s"),
        *("--script", str(_SCRIPT), url),
    ]
    with contextlib.ExitStack() as stack:
        with held():
            process = subprocess.Popen(
                pinned(core, command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
            stack.callback(end_group, process)
        assert process.stdout is not None
        stack.callback(process.stdout.close)
        yield process


def finish(process: subprocess.Popen[bytes], load: Load) -> Report:
    """Wait for wrk's end and return its report; raises `GeneratorFailed`."""
    used_before_s = _children_s()
    try:
        output, _ = process.communicate(timeout=load.seconds + _TIMEOUT_S + _GRACE_S)
    except subprocess.TimeoutExpired:
        raise GeneratorFailed("wrk did not end in time") from None
    used_s = _children_s() - used_before_s
    return parse(output.decode(errors="replace"), used_s)


def parse(output: str, generator_s: float = 0.0) -> Report:
    """Read wrk's output, as `wrk_report.lua` ends it; raises `GeneratorFailed`."""
    for line in output.splitlines():
        if line.startswith("REPORT "):
            return _report(json.loads(line.removeprefix("REPORT ")), generator_s)
    raise GeneratorFailed(f"wrk gave no report: {output.strip()[-300:]}")


def _report(said: dict[str, Any], generator_s: float) -> Report:
    duration_s = said["duration_us"] / 1e6
    return Report(
        requests=said["requests"],
        refusals=said["status"],
        duration_s=duration_s,
        # A failed read after the whole answer is a connection closed unannounced: it counts too.
        failures=sum(said[kind] for kind in ("connect", "read", "write", "status", "timeout")),
        p50_ms=said["p50_us"] / 1000,
        p99_ms=said["p99_us"] / 1000,
        max_ms=said["max_us"] / 1000,
        generator_share=generator_s / duration_s if duration_s else 0.0,
    )


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
