"""From publishing to receipt: 1,000 and 5,000 clients of each transport, on 1 and 2 workers."""

from __future__ import annotations

from loadtests.bench import rounds
from loadtests.bench.benchmark import FAILURES, GENERATOR, Benchmark, Metric, Plan, Values
from loadtests.bench.live_clients import SINGLE_EVENTS
from loadtests.bench.live_fanout import TRANSPORTS
from loadtests.bench.live_helper import helping
from loadtests.bench.live_servers import flasknado
from loadtests.processes import Running
from loadtests.servers import OURS, Server

WORKERS = {"1 worker": 1, "2 workers": 2}
PARTS = {"1,000": 10, "5,000": 2}
"""By the number of clients: which part it is of the plan's connections."""


def servers() -> dict[str, Server]:
    """Return our server with each number of workers."""
    return {name: flasknado(name, workers=workers) for name, workers in WORKERS.items()}


def measure(running: Running, plan: Plan) -> Values:
    """Measure each number of clients of each transport, each on a server of its own."""
    found: Values = {FAILURES: 0, GENERATOR: 0}
    for transport in TRANSPORTS:
        for text, part in PARTS.items():
            count = plan.idle_connections // part
            with rounds.served(running.server, plan) as fresh:
                arguments = [OURS, transport, str(fresh.target.port), str(count)]
                with helping(
                    "loadtests.bench.live_clients", arguments, plan.cores.generator
                ) as helper:
                    values = helper.ask("single")
            found[FAILURES] += values[FAILURES]
            found[GENERATOR] = max(found[GENERATOR], values[GENERATOR])
            for key in ("p50_ms", "p99_ms"):
                found[f"{transport}_{text}_{key}"] = values[key]
    return found


def _metrics() -> tuple[Metric, ...]:
    return tuple(
        Metric(f"{transport}_{text}_{key}_ms", f"{short} {text} {key} ms", 1)
        for transport, short in zip(TRANSPORTS, ("SSE", "WS"), strict=True)
        for text in PARTS
        for key in ("p50", "p99")
    )


BENCHMARK = Benchmark(
    name="live-latency",
    title="From publishing to receipt",
    method=f"{SINGLE_EVENTS} single events, each published over HTTP when the last has reached"
    " everybody; from before the request is sent to each client's receipt, so p99 is near the"
    " last client's. A tenth and a half as many clients as connections in the plan (200 and"
    " 1,000 with --quick). All workers share the server's core. With two workers an event reaches"
    " the clients of the other one when that looks at SQLite next, every 20 ms.",
    servers=tuple(servers()),
    metrics=(*_metrics(), Metric(FAILURES, "failures"), Metric(GENERATOR, "generator %")),
    measure=measure,
    more_is_better=False,
)
