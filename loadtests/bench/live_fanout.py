"""Thousands of live clients of one channel: deliveries a second, latency, memory of each."""

from __future__ import annotations

from loadtests.bench import rounds
from loadtests.bench.benchmark import (
    FAILURES,
    GENERATOR,
    Benchmark,
    Goal,
    Medians,
    Metric,
    Plan,
    Values,
    median,
)
from loadtests.bench.live_clients import BURST_EVENTS, BURSTS, SINGLE_EVENTS
from loadtests.bench.live_helper import helping
from loadtests.bench.live_servers import NCHAN_MODULE, peers
from loadtests.processes import Running
from loadtests.servers import OURS, Server

TRANSPORTS = ("sse", "websocket")
PHASES = (
    ("single", "single_us", SINGLE_EVENTS),
    ("burst", "burst_us", BURSTS * BURST_EVENTS),
    ("at_once", None, 0),
)
"""What the clients are asked for, the metric of the server's processor time, and the events."""


def servers(nchan_module: str = NCHAN_MODULE) -> dict[str, Server]:
    """Return the servers of this benchmark: no view is compared, so the table has none of them."""
    return peers(nchan_module)


def subscribers(plan: Plan) -> int:
    """Return how many clients there are of each transport: 5,000, fewer with --quick."""
    return plan.idle_connections // 2


def measure(running: Running, plan: Plan) -> Values:
    """Measure both transports, each on a server that has served nobody yet."""
    values = _measure_one(running, TRANSPORTS[0], plan)
    with rounds.served(running.server, plan) as fresh:
        values |= _measure_one(fresh, TRANSPORTS[1], plan)
    failures = sum(values.pop(f"{transport}_{FAILURES}") for transport in TRANSPORTS)
    generator = max(values.pop(f"{transport}_{GENERATOR}") for transport in TRANSPORTS)
    return {**values, FAILURES: failures, GENERATOR: generator}


def _measure_one(running: Running, transport: str, plan: Plan) -> Values:
    count = subscribers(plan)
    arguments = [running.server.name, transport, str(running.target.port), str(count)]
    resident_before = running.resident_bytes()
    failures = busiest = 0.0
    measured: Values = {}
    with helping("loadtests.bench.live_clients", arguments, plan.cores.generator) as helper:
        measured["bytes"] = (running.resident_bytes() - resident_before) / count
        for phase, key, events in PHASES:
            used_before_s = running.processor_s()
            values = helper.ask(phase)
            failures += values.pop(FAILURES)
            share = values.pop(GENERATOR)
            if values:  # else the server has no such thing, and nothing was done
                measured |= values
                measured[f"{phase}_{GENERATOR}"] = share
                busiest = max(busiest, share)
            if key is not None:
                measured[key] = 1e6 * (running.processor_s() - used_before_s) / (events * count)
    measured |= {FAILURES: failures, GENERATOR: busiest}
    return {f"{transport}_{key}": value for key, value in measured.items()}


def goals(medians: Medians) -> list[Goal]:
    """As many deliveries as nchan, 2.5 times stock Tornado's; 4 KB and 6 KB each."""
    found = []
    for transport, memory_kb in zip(TRANSPORTS, (4, 6), strict=True):
        for key, events in (("per_second", "burst"), ("single_per_second", "single events")):
            ours = median(medians, OURS, f"{transport}_{key}")
            for peer, bound in (("nchan", 1.0), ("tornado", 2.5)):
                theirs = median(medians, peer, f"{transport}_{key}")
                if ours is not None and theirs:
                    text = f"{transport} deliveries against {peer}, {events}"
                    found.append(Goal(text, ours / theirs, bound, True))
        memory = median(medians, OURS, f"{transport}_bytes")
        if memory is not None:
            text = f"resident KB for each {transport} client"
            found.append(Goal(text, memory / 1000, memory_kb, False))
    return found


def _metrics() -> tuple[Metric, ...]:
    rates, rest = [], []
    for transport, short in zip(TRANSPORTS, ("SSE", "WS"), strict=True):
        rates += [
            Metric(
                f"{transport}_per_second",
                f"{short} deliveries/s",
                limited_by=f"{transport}_burst_{GENERATOR}",
            ),
            Metric(
                f"{transport}_single_per_second",
                f"{short} single",
                limited_by=f"{transport}_single_{GENERATOR}",
            ),
        ]
        rest += [
            Metric(f"{transport}_burst_us", f"{short} us each", 1),
            Metric(f"{transport}_single_us", f"{short} single us", 1),
            Metric(
                f"{transport}_at_once_per_second",
                f"{short} in one transaction",
                limited_by=f"{transport}_at_once_{GENERATOR}",
            ),
            Metric(f"{transport}_p50_ms", f"{short} p50 ms", 1),
            Metric(f"{transport}_p99_ms", f"{short} p99 ms", 1),
            Metric(f"{transport}_bytes", f"{short} bytes each"),
        ]
    return (*rates, *rest, Metric(FAILURES, "failures"), Metric(GENERATOR, "generator %"))


BENCHMARK = Benchmark(
    name="live",
    title="5,000 live clients of one channel",
    method=f"Deliveries a second from the first to the last arrival of {BURST_EVENTS} events,"
    " published one by one on one connection (median of three); of single events, each published"
    " when the last has reached everybody (median); and of a burst published"
    " in one transaction, where the server has such. `us each` is the server's processor time for"
    " each delivery, publishing included, in microseconds: what a busy machine disturbs least."
    " p50 and p99 from publish to receipt of single"
    " events; resident memory of the server's processes for each client. (limit): the clients'"
    " core was busy for more than nine tenths of that phase, so the server may be faster."
    " One worker; 1,000 clients with --quick. Ours commits every event to SQLite first, the"
    " others keep it in memory.",
    servers=tuple(servers()),
    metrics=_metrics(),
    measure=measure,
    goals=goals,
)
