"""The live benchmark counts every delivery, on this project's server and on stock Tornado."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from loadtests.bench import live_channels, live_fanout, report, rounds
from loadtests.bench.__main__ import parse
from loadtests.bench.benchmark import FAILURES, Plan
from loadtests.processes import Cores
from loadtests.servers import OURS
from loadtests.tables import Summary

PLAN = Plan(Cores(None, None), seconds=1, rounds=1, warm_up_s=0, idle_connections=40)


@pytest.mark.parametrize("name", [OURS, "tornado-uvloop"])
def test_live_fanout_every_event_reaches_every_client_of_both_transports(name: str) -> None:
    server = live_fanout.servers()[name]
    if name != OURS:  # the environment of the servers to compare with may be missing
        server = dataclasses.replace(server, command=(sys.executable, *server.command[1:]))
    with rounds.served(server, PLAN) as running:
        values = live_fanout.measure(running, PLAN)
    assert values[FAILURES] == 0
    for metric in live_fanout.BENCHMARK.metrics:
        assert metric.key in values or "at_once" in metric.key
    for transport in live_fanout.TRANSPORTS:
        assert values[f"{transport}_per_second"] > 0
        assert 0 < values[f"{transport}_p50_ms"] <= values[f"{transport}_p99_ms"]


@pytest.mark.parametrize("name", [OURS, "tornado"])
def test_live_channels_are_measured_beside_one_channel(name: str) -> None:
    server = live_channels.servers()[name]
    if name != OURS:
        server = dataclasses.replace(server, command=(sys.executable, *server.command[1:]))
    with rounds.served(server, PLAN) as running:
        values = live_channels.measure(running, PLAN)
    assert values[FAILURES] == 0
    assert {metric.key for metric in live_channels.BENCHMARK.metrics} <= values.keys()
    for shape in live_channels.SHAPES:
        assert values[f"{shape}_per_second"] > 0
        assert 0 < values[f"{shape}_p50_ms"] <= values[f"{shape}_p99_ms"]


def test_rate_of_a_phase_in_which_the_generator_was_at_its_limit_is_marked() -> None:
    result = rounds.Result(live_fanout.BENCHMARK)
    values = {"sse_per_second": 1000.0, "sse_single_per_second": 500.0, "sse_p50_ms": 5.0}
    busy = {"sse_burst_generator_percent": 99.0, "sse_single_generator_percent": 40.0}
    result.rounds = {"nchan": [values | busy], OURS: [values]}
    ours, nchan = sorted(report.one_table(result).splitlines()[2:])
    assert "1,000" in nchan
    assert nchan.count("(limit)") == 1
    assert "(limit)" not in ours


def test_live_fanout_names_the_package_of_a_server_that_is_missing() -> None:
    missing = live_fanout.servers("/no/such/module.so")["nchan"]
    assert missing.installed_version() is None
    assert "libnginx-mod-nchan" in missing.install


def test_live_fanout_compares_with_both_and_bounds_memory() -> None:
    def summaries(rate: float) -> dict[str, Summary]:
        keys = [
            f"{transport}_{key}"
            for transport in live_fanout.TRANSPORTS
            for key in ("per_second", "single_per_second")
        ]
        return {key: Summary.of([rate]) for key in keys}

    ours = summaries(100) | {"sse_bytes": Summary.of([3000])}
    medians = {OURS: ours, "nchan": summaries(200), "tornado": summaries(20)}
    verdicts = {goal.text: goal.met for goal in live_fanout.goals(medians)}
    assert verdicts["sse deliveries against nchan, burst"] is False
    assert verdicts["websocket deliveries against tornado, single events"] is True
    assert verdicts["resident KB for each sse client"] is True
    assert "resident KB for each websocket client" not in verdicts


def test_live_fanout_is_run_by_its_name() -> None:
    assert parse(["--only", "live"]).only == ["live"]
