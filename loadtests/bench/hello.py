"""A hello-world Flask view on every server: what the server itself costs."""

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
from loadtests.servers import ALL_OURS, OURS, OURS_COMPILED, SERVERS


def measure(running: Running, plan: Plan) -> Values:
    return throughput(running, "/", plan)


def goals(medians: Medians) -> list[Goal]:
    """At least the best of all, 4 times stock Tornado, 3 times the development server.

    What is compared is the compiled form, as the C and Rust servers are, where it is installed.
    """
    ours = median(medians, OURS_COMPILED, PER_SECOND) or median(medians, OURS, PER_SECOND)
    if ours is None:
        return []
    others = {
        name: values[PER_SECOND].median for name, values in medians.items() if name not in ALL_OURS
    }
    found = []
    if others:
        best = max(others, key=others.__getitem__)
        found.append(Goal(f"against the best of the others ({best})", ours / others[best], 1, True))
    for name, bound in (("tornado-wsgi", 4), ("flask-dev", 3)):
        if others.get(name):
            found.append(Goal(f"against {name}", ours / others[name], bound, True))
    return found


BENCHMARK = Benchmark(
    name="hello",
    title="A hello-world Flask view",
    method="`GET /` on 32 kept-alive connections, one worker.",
    servers=tuple(SERVERS),
    metrics=THROUGHPUT_METRICS,
    measure=measure,
    goals=goals,
)
