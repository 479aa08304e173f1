"""A Flask view that answers with a small JSON object, on every server."""

from __future__ import annotations

from loadtests.bench import hello
from loadtests.bench.benchmark import THROUGHPUT_METRICS, Benchmark, Plan, Values, throughput
from loadtests.processes import Running
from loadtests.servers import SERVERS


def measure(running: Running, plan: Plan) -> Values:
    return throughput(running, "/json", plan)


BENCHMARK = Benchmark(
    name="json",
    title="A Flask view with a small JSON answer",
    method="`GET /json` on 32 kept-alive connections, one worker.",
    servers=tuple(SERVERS),
    metrics=THROUGHPUT_METRICS,
    measure=measure,
    goals=hello.goals,
)
