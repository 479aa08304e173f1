"""A native request's latency while every thread of the pool has a Flask view to run."""

from __future__ import annotations

import time

from loadtests.bench import wrk
from loadtests.bench.benchmark import (
    FAILURES,
    PER_SECOND,
    Benchmark,
    Goal,
    Medians,
    Metric,
    Plan,
    Values,
    median,
)
from loadtests.bench.probe import probe
from loadtests.processes import Running, answers
from loadtests.servers import OURS, SERVERS

CLIENTS = 64
RAMP_S = 0.5
SLACK_S = 3.0
"""How much longer than planned the probes may take before the load goes away."""
HEALTH_PATH = "/-/healthz"

METRICS = (
    Metric("native_p99_ms", "native p99 ms", 2),
    Metric("native_p50_ms", "p50 ms", 2),
    Metric("health_p99_ms", "health p99 ms", 2),
    Metric("health_p50_ms", "p50 ms", 2),
    Metric(FAILURES, "failures"),
    Metric(PER_SECOND, "views/s"),
)


def measure(path: str, running: Running, plan: Plan) -> Values:
    """Saturate the pool with `path`; probe a native route, then the health page if there is one."""
    values: Values = {FAILURES: 0}
    paths = {"native": "/native"}
    if answers(running.target.port, HEALTH_PATH):
        paths["health"] = HEALTH_PATH
    load = wrk.Load(CLIENTS, RAMP_S + plan.seconds * len(paths) + SLACK_S)
    with wrk.started(running.url + path, load, plan.cores.generator) as process:
        time.sleep(RAMP_S)
        for name, probed_path in paths.items():
            probed = probe(running.address, probed_path, plan.seconds)
            values[f"{name}_p50_ms"] = probed.percentile_ms(50)
            values[f"{name}_p99_ms"] = probed.percentile_ms(99)
            values[FAILURES] += probed.failures
        if process.poll() is not None:
            raise wrk.GeneratorFailed("the load ended before the last probe was answered")
        report = wrk.finish(process, load)
    values[PER_SECOND] = report.per_second
    values[FAILURES] += report.failures
    return values


def benchmark(name: str, what: str, path: str, bound_ms: float) -> Benchmark:
    """Return the benchmark for one kind of view."""

    def measure_path(running: Running, plan: Plan) -> Values:
        return measure(path, running, plan)

    def goals(medians: Medians) -> list[Goal]:
        found = []
        for kind in ("native", "health"):
            latency_ms = median(medians, OURS, f"{kind}_p99_ms")
            if latency_ms is not None:
                found.append(Goal(f"{kind} p99 in ms", latency_ms, bound_ms, False))
        return found

    return Benchmark(
        name=name,
        title=f"Native latency while the pool runs views that {what}",
        method=f"{CLIENTS} clients on `GET {path}` with 16 threads; beside them 100 native requests"
        " a second on 10 connections, then as many health checks, timed from when they were due.",
        servers=tuple(name for name, server in SERVERS.items() if server.native),
        metrics=METRICS,
        measure=measure_path,
        goals=goals,
        more_is_better=False,
    )
