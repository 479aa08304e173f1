"""10,000 idle kept-alive connections: what they cost in throughput and memory."""

from __future__ import annotations

import subprocess
import time
from contextlib import AbstractContextManager

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
from loadtests.bench.holding import close, holding
from loadtests.processes import Running
from loadtests.servers import OURS, OURS_ON_STOCK

SETTLE_S = 1.0
LOSS = "loss_percent"
MEMORY = "memory_bytes"


def measure(running: Running, plan: Plan) -> Values:
    """Load the ordinary route without, with, and again without the idle connections."""
    load = wrk.Load(plan.connections, plan.seconds)

    def ordinary() -> wrk.Report:
        return wrk.run(running.url + "/", load, plan.cores.generator)

    before = ordinary()
    resident_before = running.resident_bytes()
    with idle_connections(running, plan) as helper:
        time.sleep(SETTLE_S)
        resident_with = running.resident_bytes()
        during = ordinary()
        still_open = close(helper)
    after = ordinary()
    usual = (before.per_second + after.per_second) / 2
    closed = plan.idle_connections - still_open
    return {
        PER_SECOND: during.per_second,
        "usual_per_second": usual,
        LOSS: 100 * (1 - during.per_second / usual) if usual else 100.0,
        MEMORY: (resident_with - resident_before) / plan.idle_connections,
        FAILURES: before.failures + during.failures + after.failures + closed,
    }


def idle_connections(running: Running, plan: Plan) -> AbstractContextManager[subprocess.Popen[str]]:
    """Hold the connections, in a process of their own, during the block."""
    arguments = (str(running.target.port), str(plan.idle_connections))
    what = f"{plan.idle_connections} idle connections"
    return holding(("-m", "loadtests.bench.idle_clients", *arguments), what, plan)


def goals(medians: Medians) -> list[Goal]:
    """At most 10 % less throughput, and 3 KB of resident memory each."""
    loss = median(medians, OURS, LOSS)
    memory = median(medians, OURS, MEMORY)
    if loss is None or memory is None:
        return []
    return [
        Goal("loss of throughput in %", loss, 10, False),
        Goal("resident KB for each connection", memory / 1000, 3, False),
    ]


BENCHMARK = Benchmark(
    name="idle",
    title="10,000 idle kept-alive connections",
    method="`GET /` on 32 connections without, with and without the idle ones (2,000 with --quick);"
    " resident memory of the server's processes, without the kernel's.",
    servers=(OURS, OURS_ON_STOCK, "tornado-wsgi", "granian"),
    metrics=(
        Metric(MEMORY, "bytes each"),
        Metric(LOSS, "loss %", 1),
        Metric(PER_SECOND, "requests/s"),
        Metric("usual_per_second", "without"),
        Metric(FAILURES, "failures"),
    ),
    measure=measure,
    goals=goals,
    more_is_better=False,
)
