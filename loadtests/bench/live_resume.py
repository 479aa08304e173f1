"""Thousands of clients that come back at once, and after a deploy: how long, and what is lost."""

from __future__ import annotations

import os
import signal

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
from loadtests.bench.live_clients import BURST_EVENTS
from loadtests.bench.live_fanout import subscribers
from loadtests.bench.live_helper import helping
from loadtests.bench.live_servers import flasknado
from loadtests.processes import Running
from loadtests.servers import OURS, Server


def servers() -> dict[str, Server]:
    """Return our server: none of the others is resumed from a log."""
    return {OURS: flasknado(OURS)}


def measure(running: Running, plan: Plan) -> Values:
    """Cut everybody off and let all come back at once; then reload the server under them."""
    arguments = [str(running.target.port), str(subscribers(plan))]
    with helping("loadtests.bench.live_returners", arguments, plan.cores.generator) as helper:
        storm = helper.ask("storm")
        os.kill(running.pid, signal.SIGHUP)
        deploy = helper.ask("deploy")
    return {
        "storm_s": storm["seconds"],
        "deploy_s": deploy["seconds"],
        "deploy_p99_s": deploy["away_p99_s"],
        FAILURES: storm[FAILURES] + deploy[FAILURES],
        GENERATOR: max(storm[GENERATOR], deploy[GENERATOR]),
    }


def goals(medians: Medians) -> list[Goal]:
    """Nothing is lost."""
    lost = median(medians, OURS, FAILURES)
    return [] if lost is None else [Goal("events lost or doubled on the way back", lost, 0, False)]


BENCHMARK = Benchmark(
    name="live-resume",
    title="5,000 clients come back",
    method="Server-sent events, 1,000 clients with --quick, one worker, one generator process."
    f" Storm: all connections are cut, {BURST_EVENTS} events are published, and all connect again"
    " in the same moment with their last id; until each has what it missed. Deploy: SIGHUP while"
    " events are published; each client comes back as soon as it is sent away, by its ticket;"
    " until everybody has been away, is back, and has every event. `away` is from a client's"
    " dismissal to its first bytes from the new worker.",
    servers=tuple(servers()),
    metrics=(
        Metric("storm_s", "storm s", 2),
        Metric("deploy_s", "deploy s", 2),
        Metric("deploy_p99_s", "away p99 s", 3),
        Metric(FAILURES, "failures"),
        Metric(GENERATOR, "generator %"),
    ),
    measure=measure,
    goals=goals,
    more_is_better=False,
)
