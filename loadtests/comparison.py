"""The same application under several servers in turn: equivalence first, then locust."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests import equivalence, generator
from loadtests.generator import Report
from loadtests.processes import Cores, Running, free_port, running
from loadtests.scenarios import Scenario
from loadtests.servers import ROOT, VENV, Server, Target
from loadtests.tables import Summary, number, table, with_spread

Say = Callable[[str], None]

MODULE = "loadtests.apps.bundled"
HANDLERS = "async_handlers:routes"
PREPARE_TIMEOUT_S = 60


class CannotCompare(Exception):
    """Why there is nothing to measure, in one sentence."""


@dataclass(frozen=True)
class Sample:
    """One scenario on one server in one round."""

    round: int
    server: str
    scenario: str
    report: Report


@dataclass(frozen=True)
class Plan:
    """What is run; the first server is the one that the others are compared with."""

    servers: Sequence[Server]
    scenarios: Sequence[Scenario]
    seconds: float
    rounds: int
    cores: Cores


def prepare_database(folder: Path) -> Path:
    """Return a migrated SQLite file with the demonstration in it; raises `CannotCompare`."""
    database = folder / "prepared.db"
    done = subprocess.run(
        [str(VENV / "flask"), "--app", f"{MODULE}:app", "demo"],
        cwd=ROOT,
        env={**os.environ, **_environment(database)},
        capture_output=True,
        text=True,
        timeout=PREPARE_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise CannotCompare(f"the database could not be made: {done.stderr.strip()[-300:]}")
    return database


def run(plan: Plan, folder: Path, say: Say) -> list[Sample]:
    """Measure everything; raises `CannotCompare`, `ServerFailed` or `GeneratorFailed`."""
    prepared = prepare_database(folder)
    answers: dict[str, dict[equivalence.Question, equivalence.Answer]] = {}
    for server in plan.servers:
        with _served(server, plan, prepared, folder) as process:
            answers[server.name] = equivalence.answers_of(
                process.address, equivalence.QUESTIONS_TO_BUNDLED
            )
    first = plan.servers[0].name
    for name in answers:
        equivalence.compare(answers[first], answers[name], (first, name))
    say(f"{len(answers[first])} requests are answered the same by {', '.join(answers)}.")

    samples = []
    for round_number in range(plan.rounds):
        turn = list(plan.servers) if round_number % 2 == 0 else list(reversed(plan.servers))
        for server in turn:
            with _served(server, plan, prepared, folder) as process:
                for scenario in plan.scenarios:
                    report = generator.run(
                        scenario, process.url, plan.seconds, folder, plan.cores.generator
                    )
                    samples.append(Sample(round_number, server.name, scenario.name, report))
                    say(
                        f"  round {round_number + 1} of {plan.rounds}: {server.name:<12} "
                        f"{scenario.name:<6} {report.per_second:8,.0f} requests/s, "
                        f"{report.failures} failures"
                    )
    return samples


@contextmanager
def _served(server: Server, plan: Plan, prepared: Path, folder: Path) -> Iterator[Running]:
    """Run a server with a fresh copy of the database."""
    database = folder / "served.db"
    for leftover in folder.glob("served.db*"):
        leftover.unlink()
    shutil.copyfile(prepared, database)
    database.chmod(0o666)  # a server that drops root's rights has to write to it
    target = Target(free_port(), str(folder), MODULE, handlers=HANDLERS)
    environment = _environment(database)
    with running(server, target, core=plan.cores.server, environment=environment) as process:
        yield process


def _environment(database: Path) -> dict[str, str]:
    return {"DATABASE_URL": f"sqlite:///{database}", "APP_ENV": "development"}


def ratio(samples: Sequence[Sample], scenario: str, name: str, baseline: str) -> Summary | None:
    """Return throughput over the baseline's, round by round; `None` if the latter has none."""
    rates: dict[tuple[int, str], float] = {
        (sample.round, sample.server): sample.report.per_second
        for sample in samples
        if sample.scenario == scenario
    }
    ratios = [
        rates[number_, name] / rate
        for (number_, server), rate in rates.items()
        if server == baseline and rate > 0 and (number_, name) in rates
    ]
    return Summary.of(ratios) if ratios else None


def as_table(samples: Sequence[Sample], scenarios: Sequence[Scenario], baseline: str) -> str:
    """Return the Markdown table: a row for each scenario and server."""
    rows = []
    for scenario in scenarios:
        by_server: dict[str, list[Report]] = {}
        for sample in samples:
            if sample.scenario == scenario.name:
                by_server.setdefault(sample.server, []).append(sample.report)
        for name, reports in sorted(by_server.items(), key=lambda item: item[0] != baseline):
            against = ratio(samples, scenario.name, name, baseline)
            rows.append([scenario.name, name, *_cells(reports), _ratio(against, name == baseline)])
    headings = ["scenario", "server", "requests/s", "p50 ms", "p95 ms", "p99 ms"]
    return table([*headings, "failures", "generator %", "ratio"], rows, names=2)


def _cells(reports: Sequence[Report]) -> list[str]:
    def middle(values: Iterator[float]) -> str:
        return number(statistics.median(values))

    share = statistics.median(report.generator_share for report in reports)
    limited = " (limit)" if any(report.limited_by_generator for report in reports) else ""
    return [
        with_spread(Summary.of(report.per_second for report in reports)),
        middle(report.p50_ms for report in reports),
        middle(report.p95_ms for report in reports),
        middle(report.p99_ms for report in reports),
        number(sum(report.failures for report in reports)),
        f"{100 * share:.0f}{limited}",
    ]


def _ratio(against: Summary | None, is_baseline: bool) -> str:
    if is_baseline or against is None:
        return ""
    if against.low == against.high:
        return f"{against.median:.2f}"
    return f"{against.median:.2f} ({against.low:.2f} to {against.high:.2f})"


def failures_of(samples: Sequence[Sample]) -> Mapping[str, int]:
    """Return each server's failures."""
    failures: dict[str, int] = {}
    for sample in samples:
        failures[sample.server] = failures.get(sample.server, 0) + sample.report.failures
    return failures
