"""What a benchmark is: servers, a way to measure one of them once, and goals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from loadtests.bench import wrk
from loadtests.processes import Cores, Running
from loadtests.tables import Summary

Values = dict[str, float]
"""One round of one server: a number for each metric that could be measured."""
Medians = Mapping[str, Mapping[str, Summary]]
"""By server, by metric."""

PER_SECOND = "per_second"
FAILURES = "failures"
PER_CORE_SECOND = "per_core_second"
SERVER = "server_percent"
GENERATOR = "generator_percent"


@dataclass(frozen=True)
class Metric:
    """A column: the key in `Values`, its heading with the unit, the digits shown.

    `limited_by` is the key of the generator's share of its core while this was measured.
    """

    key: str
    heading: str
    digits: int = 0
    limited_by: str | None = None


THROUGHPUT_METRICS = (
    Metric(PER_SECOND, "requests/s"),
    Metric(PER_CORE_SECOND, "per core second"),
    Metric("p50_ms", "p50 ms", 2),
    Metric("p99_ms", "p99 ms", 2),
    Metric(FAILURES, "failures"),
    Metric(SERVER, "server %"),
    Metric(GENERATOR, "generator %"),
)


@dataclass(frozen=True)
class Plan:
    """How long and how often; the same for all servers."""

    cores: Cores
    seconds: float = 5.0
    rounds: int = 5
    warm_up_s: float = 1.0
    idle_connections: int = 10_000
    connections: int = 32


@dataclass(frozen=True)
class Goal:
    """A bound that this project has set itself."""

    text: str
    measured: float
    bound: float
    at_least: bool

    @property
    def met(self) -> bool:
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    def __str__(self) -> str:
        relation = "at least" if self.at_least else "at most"
        verdict = "met" if self.met else "missed"
        return f"{self.text}: {self.measured:.2f} ({relation} {self.bound:g}): {verdict}"


def _no_goals(_medians: Medians) -> list[Goal]:
    return []


@dataclass(frozen=True)
class Benchmark:
    """`measure` loads a running server once and returns `Values`; the first metric is compared.

    `compared` says whether ours over theirs in the first metric is shown, and `more_is_better`
    which way round.
    """

    name: str
    title: str
    method: str
    servers: tuple[str, ...]
    metrics: tuple[Metric, ...]
    measure: Callable[[Running, Plan], Values]
    goals: Callable[[Medians], list[Goal]] = _no_goals
    more_is_better: bool = True


def throughput(running: Running, path: str, plan: Plan, connections: int | None = None) -> Values:
    """Load one path and return the values of `THROUGHPUT_METRICS`.

    The processor time of both is a share of one core: a server well below 100 % was not at its
    limit, or had to share its core with something else. What it answers for each second of
    processor time it used is the number that a busy machine disturbs least.
    """
    load = wrk.Load(connections or plan.connections, plan.seconds)
    used_before_s = running.processor_s()
    report = wrk.run(running.url + path, load, plan.cores.generator)
    used_s = running.processor_s() - used_before_s
    return {
        PER_SECOND: report.per_second,
        PER_CORE_SECOND: report.per_second * report.duration_s / used_s if used_s else 0.0,
        "p50_ms": report.p50_ms,
        "p99_ms": report.p99_ms,
        FAILURES: report.failures,
        SERVER: 100 * used_s / report.duration_s if report.duration_s else 0.0,
        GENERATOR: 100 * report.generator_share,
    }


def median(medians: Medians, server: str, key: str) -> float | None:
    """Return a median, or `None` if that was not measured."""
    summary = medians.get(server, {}).get(key)
    return None if summary is None else summary.median
