"""The same `RequestHandler` on this project's connections and on stock Tornado."""

from __future__ import annotations

from loadtests.bench.benchmark import (
    PER_SECOND,
    THROUGHPUT_METRICS,
    Benchmark,
    Goal,
    Medians,
    Plan,
    Values,
    median,
    throughput,
)
from loadtests.processes import Running
from loadtests.servers import OURS, OURS_COMPILED, SERVERS


def measure(running: Running, plan: Plan) -> Values:
    return throughput(running, "/native", plan)


def goals(medians: Medians) -> list[Goal]:
    """At least twice stock Tornado."""
    ours = median(medians, OURS_COMPILED, PER_SECOND) or median(medians, OURS, PER_SECOND)
    stock = median(medians, "tornado-wsgi", PER_SECOND)
    if ours is None or not stock:
        return []
    return [Goal("against stock Tornado", ours / stock, 2, True)]


BENCHMARK = Benchmark(
    name="native",
    title="A native RequestHandler",
    method="`GET /native` on 32 kept-alive connections, one worker.",
    servers=tuple(name for name, server in SERVERS.items() if server.native),
    metrics=THROUGHPUT_METRICS,
    measure=measure,
    goals=goals,
)
