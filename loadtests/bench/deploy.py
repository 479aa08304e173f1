"""What clients notice of a deploy: the workers are replaced (HUP) while requests come in."""

from __future__ import annotations

import os
import signal
import threading
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
from loadtests.processes import Running, group_members
from loadtests.servers import OURS, OURS_COMPILED, SERVERS, Server

NAMES = (OURS, OURS_COMPILED, "gunicorn-gthread", "gunicorn-gevent", "granian")
CONNECTIONS = 8
BEFORE_S = 1.0
"""How long there is load before the deploy."""
LEAST_SECONDS = 6.0
SLACK_S = 3.0
"""How much longer than planned the probe may take before the load goes away."""
REPLACED_TIMEOUT_S = 60.0
_POLL_S = 0.05


def measure(running: Running, plan: Plan) -> Values:
    """Load `/` and ask it on a timetable, have the workers replaced, and wait until they are."""
    seconds = max(plan.seconds, LEAST_SECONDS)
    before = set(group_members(running.pid)) - {running.pid}
    load = wrk.Load(CONNECTIONS, seconds + SLACK_S)
    hang_up = threading.Timer(BEFORE_S, os.kill, (running.pid, signal.SIGHUP))
    with wrk.started(running.url + "/", load, plan.cores.generator) as process:
        hang_up.start()
        probed = probe(running.address, "/", seconds)
        hang_up.join()
        report = wrk.finish(process, load)
    _wait_until_gone(running, before)
    return {
        FAILURES: report.failures + probed.failures,
        "p99_ms": probed.percentile_ms(99),
        "max_ms": probed.percentile_ms(100),
        PER_SECOND: report.per_second,
    }


def _wait_until_gone(running: Running, workers: set[int]) -> None:
    """Wait until a process has been replaced, or nothing has been deployed."""
    if not workers:
        raise wrk.GeneratorFailed("it has no workers that could be replaced")
    deadline = time.monotonic() + REPLACED_TIMEOUT_S
    while workers <= set(group_members(running.pid)):
        if time.monotonic() > deadline:
            raise wrk.GeneratorFailed(f"no worker was replaced within {REPLACED_TIMEOUT_S:.0f} s")
        time.sleep(_POLL_S)


def servers() -> dict[str, Server]:
    """Return the servers that replace their workers upon HUP."""
    return {name: SERVERS[name] for name in NAMES}


def goals(medians: Medians) -> list[Goal]:
    """No request fails."""
    failures = median(medians, OURS, FAILURES)
    return [] if failures is None else [Goal("failures in a deploy", failures, 0, False)]


BENCHMARK = Benchmark(
    name="deploy",
    title="A deploy under load",
    method=f"`GET /` on {CONNECTIONS} connections, and 100 a second on 10 more whose latencies"
    f" count from when they were due; after {BEFORE_S:g} s the server gets HUP and replaces its one"
    " worker. Failures are connections that were closed on a request, and answers that did not"
    " come.",
    servers=NAMES,
    metrics=(
        Metric("p99_ms", "p99 ms", 1),
        Metric("max_ms", "max ms", 1),
        Metric(FAILURES, "failures"),
        Metric(PER_SECOND, "requests/s"),
    ),
    measure=measure,
    goals=goals,
    more_is_better=False,
)
