"""The benchmarks of latency, appending and coming back, on the real server."""

from __future__ import annotations

import dataclasses

import pytest

from loadtests.bench import live_append, live_commit, live_latency, live_resume, rounds
from loadtests.bench.__main__ import parse, those_installed
from loadtests.bench.benchmark import FAILURES, Benchmark, Plan
from loadtests.bench.live_returners import Returner
from loadtests.bench.suite import LIVE
from loadtests.processes import Cores
from loadtests.servers import OURS
from loadtests.tables import Summary

PLAN = Plan(Cores(None, None), seconds=0.3, rounds=1, warm_up_s=0, idle_connections=60)


def assert_complete(benchmark: Benchmark, values: dict[str, float]) -> None:
    assert values[FAILURES] == 0
    assert {metric.key for metric in benchmark.metrics} <= values.keys()


def test_live_latency_reaches_every_client_on_two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_latency, "PARTS", {"5,000": 2})
    with rounds.served(live_latency.servers()["2 workers"], PLAN) as running:
        values = live_latency.measure(running, PLAN)
    assert values[FAILURES] == 0
    for transport in live_latency.TRANSPORTS:
        assert 0 < values[f"{transport}_5,000_p50_ms"] <= values[f"{transport}_5,000_p99_ms"]


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_live_append_counts_what_the_log_has(name: str) -> None:
    server = live_append.servers()[name]
    if server.installed_version() is None:
        pytest.skip(f"{name} is not installed: {server.install}")
    with rounds.served(server, PLAN) as running:
        values = live_append.measure(running, PLAN)
    assert_complete(live_append.BENCHMARK, values)
    assert all(values[f"{count}_per_second"] > 0 for count in live_append.PUBLISHERS)


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_live_commit_loses_nothing_while_sequencers_are_killed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_commit, "THREADS", (8, 32))
    monkeypatch.setattr(live_commit, "RATE_PER_S", 50)
    monkeypatch.setattr(live_commit, "KILLS_S", 3.0)
    monkeypatch.setattr(live_commit, "KILL_INTERVAL_S", 0.8)
    server = live_commit.servers()[name]
    if server.installed_version() is None:
        pytest.skip(f"{name} is not installed: {server.install}")
    with rounds.served(server, PLAN) as running:
        values = live_commit.measure(running, PLAN)
    assert values[FAILURES] == 0
    assert values["receive_wrong"] == 0
    assert values["event_32"] > 0
    if name == "postgresql":
        assert values["kills"] > 0
        assert values["killed_wrong"] == 0
    assert live_commit.goals({name: {}}) == []


def test_live_resume_loses_nothing_in_a_storm_and_a_deploy() -> None:
    with rounds.served(live_resume.servers()[OURS], PLAN) as running:
        values = live_resume.measure(running, PLAN)
    assert_complete(live_resume.BENCHMARK, values)
    assert values["storm_s"] > 0
    assert 0 < values["deploy_p99_s"] <= values["deploy_s"]


@pytest.mark.parametrize(
    ("blocks", "wrong"),
    [
        (b"id: e:5\n\nid: e:6\nevent: tick\ndata: 1\n\nid: e:7\nevent: tick\ndata: 1\n\n", 0),
        (b"id: e:5\n\nid: e:7\nevent: tick\ndata: 1\n\n", 1),
        (b"id: e:5\n\nid: e:6\nevent: tick\ndata: 1\n\nid: e:6\nevent: tick\ndata: 1\n\n", 1),
        (b"id: e:5\n\nid: e:6\n\n", 1),
        (b"id: e:5\n\nid: e:9\nevent: reset\ndata: 1\n\n", 2),
    ],
    ids=["all", "gap", "double", "head beyond", "reset"],
)
@pytest.mark.parametrize("cut", [0, 3, 20])
def test_returner_judges_each_offset_also_in_pieces(blocks: bytes, wrong: int, cut: int) -> None:
    client = Returner()
    for piece in (blocks[:cut], blocks[cut:]):
        client.take(piece)
    assert client.wrong == wrong
    assert client.last_id == blocks.rpartition(b"id: ")[2].partition(b"\n")[0]


def test_live_resume_that_loses_events_misses_its_goal() -> None:
    medians = {OURS: {FAILURES: Summary.of([1.0])}}
    assert [goal.met for goal in live_resume.goals(medians)] == [False]


def test_live_benchmarks_are_run_by_their_names() -> None:
    assert parse(["--only", "live-append"]).only == ["live-append"]
    assert list(LIVE) == [
        "held",
        "deploy",
        "live",
        "live-channels",
        "live-latency",
        "live-append",
        "live-commit",
        "live-resume",
        "socketio",
        "static",
    ]


def test_live_server_that_is_missing_is_left_out_with_its_install_line() -> None:
    missing = dataclasses.replace(
        live_append.servers()["postgresql"], version=("/no/such/program", "--version")
    )
    skipped: dict[str, str] = {}
    assert those_installed({"postgresql": missing}, skipped) == {}
    assert skipped == {"postgresql": "apt-get install postgresql"}
