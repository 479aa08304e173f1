"""100 clients on a view that waits 50 ms: how much of the pool's capacity is used."""

from __future__ import annotations

from loadtests.apps.views import WAIT_S
from loadtests.bench.benchmark import (
    PER_SECOND,
    THROUGHPUT_METRICS,
    Benchmark,
    Goal,
    Medians,
    Metric,
    Plan,
    Values,
    median,
    throughput,
)
from loadtests.processes import Running
from loadtests.servers import OURS, SERVERS

CLIENTS = 100
SHARE = "share"


def measure(running: Running, plan: Plan) -> Values:
    values = throughput(running, "/wait", plan, CLIENTS)
    values[SHARE] = values[PER_SECOND] / (running.target.threads / WAIT_S)
    return values


def goals(medians: Medians) -> list[Goal]:
    """At least 0.95 of what the threads can do."""
    share = median(medians, OURS, SHARE)
    return [] if share is None else [Goal("share of threads / 0.05 s", share, 0.95, True)]


BENCHMARK = Benchmark(
    name="blocking",
    title="100 clients on a view that waits 50 ms",
    method="`GET /wait` on 100 kept-alive connections, 16 threads: at most 320 requests/s.",
    servers=tuple(name for name, server in SERVERS.items() if server.pooled),
    metrics=(Metric(SHARE, "share", 3), *THROUGHPUT_METRICS),
    measure=measure,
    goals=goals,
)
