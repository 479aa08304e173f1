"""The load generator locust: run in its own environment, and read.

Its users wait for an answer before they ask again, so their number, not a rate, is what is fixed.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.interrupts import held
from loadtests.processes import Cores, end_group, pinned
from loadtests.scenarios import LIVE_METHODS, PROCESSOR_FOLDER, Scenario
from loadtests.servers import ROOT
from loadtests.usage import SHARED_CORE

LOCUST = ROOT / ".venv-loadtest" / "bin" / "locust"
LOCUSTFILE = ROOT / "loadtests" / "locustfile.py"
INSTALL_LOCUST = "make .venv-loadtest/.loadtest"
BUSY_GENERATOR = 0.9
"""The share of a core above which the generator, not the server, may be the limit."""
_GRACE_S = 30.0
_ERRORS_SHOWN = 3
NO_CORES = Cores(None, None)


class GeneratorFailed(Exception):
    """Locust did not run or did not report; the message has the end of its output."""


@dataclass(frozen=True)
class Delivery:
    """What the live clients received; times run from the publisher's question to the arrival.

    `lost` are gaps in the numbers of what arrived, silences, and connections cut.
    """

    received: int
    lost: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Report:
    """What locust's users saw; the percentiles are of all answers, failures too.

    `per_second` counts successful requests. `generator_share` is the processor time of
    locust's busiest process, as a share of a core. `errors` are the most frequent failures, in
    locust's words. `server_s` is the processor time that the server used, and `others_share` what
    other processes had of its core meanwhile, if it is ours to watch.
    """

    requests: int
    failures: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    generator_share: float
    delivery: Delivery | None = None
    errors: tuple[str, ...] = ()
    server_s: float | None = None
    others_share: float | None = None

    @property
    def per_core_second(self) -> float | None:
        """Successful requests for each second of the server's processor time."""
        return (self.requests - self.failures) / self.server_s if self.server_s else None

    @property
    def shared(self) -> bool:
        """Whether other processes on the server's core have been measured too."""
        return (self.others_share or 0.0) > SHARED_CORE

    @property
    def limited_by_generator(self) -> bool:
        return self.generator_share > BUSY_GENERATOR

    @property
    def all_failures(self) -> int:
        """Failed requests, and what the live clients missed."""
        return self.failures + (self.delivery.lost if self.delivery else 0)


def installed_version() -> str:
    """Return the installed locust's version; raises `GeneratorFailed`."""
    try:
        done = subprocess.run(
            [str(LOCUST), "--version"],
            capture_output=True,
            text=True,
            timeout=_GRACE_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise GeneratorFailed(f"locust does not run: {error}") from None
    return done.stdout.split()[1]


def run(
    scenario: Scenario,
    users: int,
    url: str,
    seconds: float,
    folder: Path,
    cores: Cores = NO_CORES,
    locustfile: Path = LOCUSTFILE,
) -> Report:
    """Let a scenario's users loose on a URL; raises `GeneratorFailed`.

    There is a process of locust for each core of the generator. `folder` keeps locust's own
    report, `locust.json`, until the next run.
    """
    if not LOCUST.exists():
        raise GeneratorFailed(f"locust is not installed: run {INSTALL_LOCUST}")
    for leftover in folder.glob("locust*"):
        leftover.unlink()
    stored = folder / "locust.json"
    crowd = scenario.crowd(users)
    counts = [{"user_class_name": name, "fixed_count": n} for name, n in crowd.items()]
    everybody = str(sum(crowd.values()))
    processes = 1 + len(cores.spare)
    command = [
        *(str(LOCUST), "--locustfile", str(locustfile), *crowd, "--headless"),
        *("--config-users", json.dumps(counts), "--users", everybody, "--spawn-rate", everybody),
        *("--run-time", f"{seconds:g}s", "--host", url, "--only-summary"),
        *("--json-file", str(stored.with_suffix("")), "--csv", str(stored.with_suffix(""))),
        *("--exit-code-on-error", "0"),
        *(("--processes", str(processes)) if processes > 1 else ()),
    ]
    output = _finish(pinned(cores.generator, command, *cores.spare), folder, seconds + _GRACE_S)
    try:
        entries = json.loads(stored.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise GeneratorFailed(f"locust gave no report: {output[-500:]}") from None
    return parse(entries, _busiest(folder), _errors(folder / "locust_failures.csv"))


def _finish(command: Sequence[str], folder: Path, timeout_s: float) -> str:
    with contextlib.ExitStack() as stack:
        with held():
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), PROCESSOR_FOLDER: str(folder)},
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


def parse(
    entries: Sequence[Mapping[str, Any]], share: float = 0.0, errors: Sequence[str] = ()
) -> Report:
    """Add up what locust's `--json-file` says of each URL; raises `GeneratorFailed`.

    `share` is the processor time of its busiest process, as a share of a core.
    """
    entries = [entry for entry in entries if entry["num_requests"]]
    asked = [entry for entry in entries if entry["method"] not in LIVE_METHODS.values()]
    if not asked:
        raise GeneratorFailed("locust made no request" + "".join(f"; {text}" for text in errors))
    requests, failures = _count(asked)
    times = _times(asked)
    # Locust's clock for a URL starts with the first answer, which was asked for before.
    begins = min(entry["start_time"] - entry["min_response_time"] / 1000 for entry in asked)
    ends = max(entry["last_request_timestamp"] for entry in asked)
    duration_s = max(ends - begins, 0.001)
    return Report(
        requests=requests,
        failures=failures,
        per_second=(requests - failures) / duration_s,
        p50_ms=percentile_ms(times, 50),
        p95_ms=percentile_ms(times, 95),
        p99_ms=percentile_ms(times, 99),
        generator_share=share,
        delivery=_delivery([entry for entry in entries if entry not in asked]),
        errors=tuple(errors),
    )


def _delivery(entries: Sequence[Mapping[str, Any]]) -> Delivery | None:
    if not entries:
        return None
    counted, lost = _count(entries)
    arrived = [entry for entry in entries if entry["name"] == "delivery"]
    times = _times(arrived)
    # Locust gives every event a time; one that never arrived has none.
    times[0.0] -= sum(entry["num_failures"] for entry in arrived)
    return Delivery(
        received=counted - lost,
        lost=lost,
        p50_ms=percentile_ms(times, 50),
        p95_ms=percentile_ms(times, 95),
        p99_ms=percentile_ms(times, 99),
    )


def _count(entries: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    requests = sum(entry["num_requests"] for entry in entries)
    return requests, sum(entry["num_failures"] for entry in entries)


def _times(entries: Sequence[Mapping[str, Any]]) -> Counter[float]:
    times: Counter[float] = Counter()
    for entry in entries:
        for milliseconds, count in entry["response_times"].items():
            times[float(milliseconds)] += count
    return times


def _errors(failures: Path) -> tuple[str, ...]:
    """Return the most frequent lines of locust's `--csv` file of failures."""
    try:
        with failures.open(encoding="utf-8", newline="") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: -int(row["Occurrences"]))
    except OSError:
        return ()
    return tuple(
        f"{row['Occurrences']} times {row['Method']} {row['Name']}: {row['Error'][:200]}"
        for row in rows[:_ERRORS_SHOWN]
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


def _busiest(folder: Path) -> float:
    """Return the greatest of the shares that locust's processes have told."""
    told = [json.loads(path.read_text()) for path in folder.glob("locust-processor-*.json")]
    return max(told, default=0.0)
