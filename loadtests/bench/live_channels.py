"""Many channels of a few clients each, beside one channel of all of them."""

from __future__ import annotations

from loadtests.bench import rounds
from loadtests.bench.benchmark import (
    FAILURES,
    GENERATOR,
    Benchmark,
    Metric,
    Plan,
    Values,
)
from loadtests.bench.live_clients import BURST_EVENTS, BURSTS, SINGLE_EVENTS_OF_MANY
from loadtests.bench.live_fanout import subscribers
from loadtests.bench.live_helper import helping
from loadtests.bench.live_servers import peers
from loadtests.processes import Running
from loadtests.servers import Server

TRANSPORT = "sse"
CLIENTS_OF_ONE = 5
SHAPES = ("many", "one")


def servers() -> dict[str, Server]:
    """Return the servers of this benchmark."""
    return peers()


def channels_of(shape: str, plan: Plan) -> int:
    """Return how many channels there are: 1,000 of many (fewer with --quick), or one."""
    return subscribers(plan) // CLIENTS_OF_ONE if shape == "many" else 1


def measure(running: Running, plan: Plan) -> Values:
    """Measure both shapes, each on a server that has served nobody yet."""
    found: Values = {FAILURES: 0, GENERATOR: 0}
    for shape in SHAPES:
        with rounds.served(running.server, plan) as fresh:
            values = _measure_one(fresh, channels_of(shape, plan), plan)
        found[FAILURES] += values.pop(FAILURES)
        found[GENERATOR] = max(found[GENERATOR], values[GENERATOR])
        found |= {f"{shape}_{key}": value for key, value in values.items()}
    return found


def _measure_one(running: Running, channels: int, plan: Plan) -> Values:
    count = subscribers(plan)
    arguments = [running.server.name, TRANSPORT, str(running.target.port), str(count)]
    arguments.append(str(channels))
    with helping("loadtests.bench.live_clients", arguments, plan.cores.generator) as helper:
        singles = helper.ask("single")
        used_before_s = running.processor_s()
        burst = helper.ask("burst")
        used_s = running.processor_s() - used_before_s
    events = BURST_EVENTS if channels == 1 else channels
    deliveries = BURSTS * events * (count // channels)
    return {
        "per_second": burst["per_second"],
        "us": 1e6 * used_s / deliveries,
        "p50_ms": singles["p50_ms"],
        "p99_ms": singles["p99_ms"],
        FAILURES: singles[FAILURES] + burst[FAILURES],
        GENERATOR: burst[GENERATOR],
    }


def _metrics() -> tuple[Metric, ...]:
    rates, rest = [], []
    for shape, heading in zip(SHAPES, ("many", "one channel"), strict=True):
        limited_by = f"{shape}_{GENERATOR}"
        key = f"{shape}_per_second"
        rates.append(Metric(key, f"{heading}: deliveries/s", limited_by=limited_by))
        rest += [
            Metric(f"{shape}_us", f"{heading}: us each", 1),
            Metric(f"{shape}_p50_ms", f"{heading}: p50 ms", 1),
            Metric(f"{shape}_p99_ms", f"{heading}: p99 ms", 1),
        ]
    return (*rates, *rest, Metric(FAILURES, "failures"), Metric(GENERATOR, "generator %"))


BENCHMARK = Benchmark(
    name="live-channels",
    title="1,000 channels of 5 live clients, and one of 5,000",
    method="Deliveries a second, over server-sent events, from the first to the last arrival: of"
    " one event on each of the channels, published one by one on one connection, and of"
    f" {BURST_EVENTS} events on the one channel (median of three). `us each` is the server's"
    " processor time for each delivery, publishing included: with many channels an event has five"
    " deliveries, so it is mostly the publication's. p50 and p99 from publish to receipt of single"
    f" events ({SINGLE_EVENTS_OF_MANY} with many channels). One worker; 200 channels and 1,000"
    " clients with --quick. Ours commits every event to SQLite first, the others keep it in memory."
    " (limit): the clients' core was busy for more than nine tenths of the burst.",
    servers=tuple(servers()),
    metrics=_metrics(),
    measure=measure,
)
