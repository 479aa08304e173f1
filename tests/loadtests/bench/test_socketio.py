"""The benchmark of Socket.IO: few clients of our server, all that is measured, and the goals."""

from __future__ import annotations

import dataclasses

import pytest

from loadtests.bench import rounds, socketio
from loadtests.bench.benchmark import FAILURES, GENERATOR, Plan
from loadtests.processes import Cores
from loadtests.servers import OURS
from loadtests.tables import Summary

PLAN = Plan(Cores(None, None), seconds=1, rounds=1, warm_up_s=0)
COLUMNS = {metric.key for metric in socketio.BENCHMARK.metrics}


def test_every_column_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socketio, "CLIENTS", (10, 20))
    monkeypatch.setattr(socketio, "POLLING_CLIENTS", 10)
    server = socketio.servers()[OURS]
    command = tuple(part.replace("{bench}", "{venv}") for part in server.command)
    with rounds.served(dataclasses.replace(server, command=command), PLAN) as running:
        values = socketio.measure(running, PLAN)
    assert values[FAILURES] == 0
    expected = {metric.key for metric in socketio._metrics()}
    assert expected <= set(values)
    assert all(values[key] > 0 for key in expected if "per_second" in key or "echo" in key)


def test_goals_are_judged_by_what_was_measured() -> None:
    def medians(value: float) -> dict[str, Summary]:
        return {key: Summary.of([value]) for key in COLUMNS}

    others = dict.fromkeys((socketio.GEVENT, socketio.THREADS, socketio.TORNADO), medians(100))
    assert len(socketio.goals({OURS: medians(1001), **others})) == 17
    assert all(goal.met for goal in socketio.goals({OURS: medians(1001), **others}))
    missed = [goal for goal in socketio.goals({OURS: medians(700), **others}) if not goal.met]
    assert [goal.bound for goal in missed] == [10, 10]
    assert socketio.goals({OURS: {}}) == []
    assert GENERATOR in COLUMNS
    assert set(socketio.BENCHMARK.servers) == set(socketio.servers())
