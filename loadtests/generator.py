"""The load generator locust: run in its own environment, and read.

Its users wait for an answer before they ask again, so their number, not a rate, is what is fixed.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.interrupts import held
from loadtests.processes import end_group, pinned
from loadtests.scenarios import Scenario
from loadtests.servers import ROOT

LOCUST = ROOT / ".venv-loadtest" / "bin" / "locust"
LOCUSTFILE = ROOT / "loadtests" / "locustfile.py"
INSTALL_LOCUST = "make .venv-loadtest/.loadtest"
BUSY_GENERATOR = 0.9
"""The share of its core above which the generator, not the server, may be the limit."""
_GRACE_S = 30.0


class GeneratorFailed(Exception):
    """Locust did not run or did not report; the message has the end of its output."""


@dataclass(frozen=True)
class Report:
    """What locust's users saw; the percentiles are of all answers, failures too.

    `per_second` counts successful requests. `generator_share` is the processor time that locust
    used, as a share of one core.
    """

    requests: int
    failures: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    generator_share: float

    @property
    def limited_by_generator(self) -> bool:
        return self.generator_share > BUSY_GENERATOR


def run(
    scenario: Scenario,
    url: str,
    seconds: float,
    folder: Path,
    core: int | None = None,
    locustfile: Path = LOCUSTFILE,
) -> Report:
    """Let a scenario's users loose on a URL; raises `GeneratorFailed`."""
    if not LOCUST.exists():
        raise GeneratorFailed(f"locust is not installed: run {INSTALL_LOCUST}")
    stored = folder / "locust.json"
    stored.unlink(missing_ok=True)
    command = [
        *(str(LOCUST), "--locustfile", str(locustfile), scenario.user, "--headless"),
        *("--users", str(scenario.users), "--spawn-rate", str(scenario.users)),
        *("--run-time", f"{seconds:g}s", "--host", url, "--only-summary"),
        *("--json-file", str(stored.with_suffix("")), "--exit-code-on-error", "0"),
    ]
    used_before_s = _children_s()
    output = _finish(pinned(core, command), folder, seconds + _GRACE_S)
    used_s = _children_s() - used_before_s
    try:
        entries = json.loads(stored.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise GeneratorFailed(f"locust gave no report: {output[-500:]}") from None
    return parse(entries, used_s)


def _finish(command: Sequence[str], folder: Path, timeout_s: float) -> str:
    with contextlib.ExitStack() as stack:
        with held():
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
            stack.callback(end_group, process)
        assert process.stdout is not None
        stack.callback(process.stdout.close)
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise GeneratorFailed(f"locust did not end within {timeout_s:.0f} s") from None
    return output.decode(errors="replace").strip()


def parse(entries: Sequence[Mapping[str, Any]], generator_s: float = 0.0) -> Report:
    """Add up what locust's `--json-file` says of each URL; raises `GeneratorFailed`."""
    entries = [entry for entry in entries if entry["num_requests"]]
    if not entries:
        raise GeneratorFailed("locust made no request")
    requests = sum(entry["num_requests"] for entry in entries)
    failures = sum(entry["num_failures"] for entry in entries)
    times: Counter[float] = Counter()
    for entry in entries:
        for milliseconds, count in entry["response_times"].items():
            times[float(milliseconds)] += count
    # Locust's clock for a URL starts with the first answer, which was asked for before.
    begins = min(entry["start_time"] - entry["min_response_time"] / 1000 for entry in entries)
    ends = max(entry["last_request_timestamp"] for entry in entries)
    duration_s = max(ends - begins, 0.001)
    return Report(
        requests=requests,
        failures=failures,
        per_second=(requests - failures) / duration_s,
        p50_ms=percentile_ms(times, 50),
        p95_ms=percentile_ms(times, 95),
        p99_ms=percentile_ms(times, 99),
        generator_share=generator_s / duration_s,
    )


def percentile_ms(times: Mapping[float, int], percent: float) -> float:
    """Return the time that `percent` of the answers do not exceed (nearest rank)."""
    wanted = percent / 100 * sum(times.values())
    seen = 0
    for milliseconds in sorted(times):
        seen += times[milliseconds]
        if seen >= wanted:
            return milliseconds
    return float("inf")


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
