"""The same application under several servers in turn: equivalence first, then locust."""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from loadtests import equivalence, generator
from loadtests.equivalence import NotEquivalent, Question
from loadtests.generator import GeneratorFailed
from loadtests.processes import Cores, Running, ServerFailed, free_port, running
from loadtests.results import Sample
from loadtests.scenarios import Scenario
from loadtests.servers import ROOT, VENV, Server, Target
from loadtests.usage import Meter

Say = Callable[[str], None]

MODULE = "loadtests.apps.bundled"
HANDLERS = "async_handlers:routes"
PREPARE_TIMEOUT_S = 60
_SECRET_KEY = secrets.token_hex(32)
ONE_THREAD = "it has one thread: the first client to hold on would shut out everybody else"
WSGI_ONLY = (
    "the application's live endpoints are Tornado handlers, and only WSGI applications run there"
)


class CannotMeasure(Exception):
    """Why there is nothing to measure, in one sentence."""


@dataclass(frozen=True)
class Plan:
    """What is run; the first server is the one that the others are compared with."""

    servers: Sequence[Server]
    scenarios: Sequence[Scenario]
    levels: dict[str, tuple[int, ...]]
    seconds: float
    rounds: int
    cores: Cores


@dataclass
class Measured:
    """The samples; the reasons for what is not possible, by server and scenario; and what failed.

    `failed` has a message for each server that ended, and was left out from then on.
    """

    samples: list[Sample] = field(default_factory=list)
    impossible: dict[tuple[str, str], str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def prepare_database(folder: Path) -> Path:
    """Return a migrated SQLite file with the demonstration in it; raises `CannotMeasure`."""
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
        raise CannotMeasure(f"the database could not be made: {done.stderr.strip()[-300:]}")
    return database


def run(plan: Plan, folder: Path, raw: Path, say: Say) -> Measured:
    """Measure everything on every server; `raw` is where locust's own reports are kept.

    Raises `CannotMeasure`, and `NotEquivalent` if servers answer differently.
    """
    prepared = prepare_database(folder)
    measured = Measured()
    _check(plan, prepared, folder, measured, say)
    for round_number in range(plan.rounds):
        turn = list(plan.servers) if round_number % 2 == 0 else list(reversed(plan.servers))
        for server in turn:
            if server.name in measured.failed:
                continue
            try:
                with served(server, prepared, folder, plan.cores) as process:
                    _load(plan, round_number, process, raw, measured, say)
            except (ServerFailed, GeneratorFailed) as error:
                measured.failed[server.name] = str(error)
                say(f"  {server.name} is left out from here on: {error}")
    return measured


def run_target(plan: Plan, url: str, raw: Path, say: Say) -> Measured:
    """Measure what answers at a URL of this machine; raises `GeneratorFailed`."""
    measured = Measured()
    parts = urlsplit(url)
    _probe(plan, (parts.hostname or "", parts.port or 80), url, measured)
    for round_number in range(plan.rounds):
        _load(plan, round_number, url, raw, measured, say)
    return measured


def _check(plan: Plan, prepared: Path, folder: Path, measured: Measured, say: Say) -> None:
    """Compare all servers' answers, and find out what is not possible with which."""
    answers: dict[str, dict[Question, equivalence.Answer]] = {}
    for server in plan.servers:
        try:
            with served(server, prepared, folder, plan.cores) as process:
                answers[server.name] = equivalence.answers_of(
                    process.address, equivalence.QUESTIONS_TO_BUNDLED
                )
                for scenario in plan.scenarios:
                    if scenario.live and not server.native:
                        reason = ONE_THREAD if server.single else WSGI_ONLY
                        measured.impossible[server.name, scenario.name] = reason
                _probe(plan, process.address, server.name, measured)
        except ServerFailed as error:
            measured.failed[server.name] = str(error)
            say(f"  {server.name} is left out: {error}")
    if not answers:
        raise CannotMeasure("No server runs.")
    first = next(iter(answers))
    for name in answers:
        equivalence.compare(answers[first], answers[name], (first, name))
    say(f"{len(answers[first])} requests are answered the same by {', '.join(answers)}.")


def _probe(plan: Plan, address: tuple[str, int], name: str, measured: Measured) -> None:
    for scenario in plan.scenarios:
        if (name, scenario.name) not in measured.impossible:
            try:
                equivalence.answers_of(address, [Question(scenario.probe)])
            except NotEquivalent as error:
                measured.impossible[name, scenario.name] = str(error).partition(": ")[0]


def _load(
    plan: Plan, round_number: int, served: Running | str, raw: Path, measured: Measured, say: Say
) -> None:
    """Run all scenarios on a server, or on a URL of which nothing more is known."""
    watched = None if isinstance(served, str) else served
    name = watched.server.name if watched else str(served)
    label = name if watched else "target"
    url = watched.url if watched else name
    workers = watched.server.workers if watched else 1
    generators = plan.cores.beside(workers)
    own = plan.cores.of_server(workers)
    # With the generator on one of them, what others had is not known.
    own = () if plan.cores.generator in own else own
    for scenario in plan.scenarios:
        if (name, scenario.name) in measured.impossible:
            continue
        for users in plan.levels[scenario.name]:
            meter = Meter(watched, own) if watched else None
            report = generator.run(scenario, users, url, plan.seconds, raw, generators)
            if meter:
                report = dataclasses.replace(report, **asdict(meter.read()))
            measured.samples.append(Sample(round_number, name, scenario.name, users, report))
            (raw / "locust.json").replace(
                raw / f"{round_number + 1}-{label}-{scenario.name}-{users}.json"
            )
            say(
                f"  round {round_number + 1} of {plan.rounds}: {label:<16} "
                f"{scenario.name:<9} {users:>4} users {report.per_second:8,.0f} requests/s, "
                f"{report.all_failures} failures"
            )
    for leftover in raw.glob("locust*"):
        leftover.unlink()


@contextmanager
def served(server: Server, prepared: Path, folder: Path, cores: Cores) -> Iterator[Running]:
    """Run a server with a fresh copy of the database; raises `ServerFailed`."""
    fresh = folder / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    database = fresh / "served.db"
    shutil.copyfile(prepared, database)
    # A server that drops root's rights has to write to it, and SQLite to files beside it.
    fresh.chmod(0o777)
    database.chmod(0o666)
    target = Target(free_port(), str(folder), MODULE, handlers=HANDLERS, workers=server.workers)
    with running(
        server,
        target,
        core=cores.server,
        more_cores=cores.of_server(server.workers)[1:],
        environment=_environment(database),
    ) as process:
        yield process


def _environment(database: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": f"sqlite:///{database}",
        "APP_ENV": "development",
        "SECRET_KEY": _SECRET_KEY,
        # Counted as ever, and never reached.
        "API_WRITE_LIMIT": "1000000 per 10 minutes",
    }
