"""Answers that are held are asked for by a helper, read, counted and closed."""

from __future__ import annotations

import pytest

from loadtests.bench.benchmark import Plan
from loadtests.bench.held import BENCHMARK, KINDS, servers
from loadtests.bench.holding import close, holding
from loadtests.bench.wrk import GeneratorFailed
from loadtests.processes import Cores
from tests.loadtests.fakes import Fake, running_of

PLAN = Plan(Cores(None, None))


def clients(fake: Fake, count: int) -> tuple[str, ...]:
    port = str(running_of(fake).target.port)
    return ("-m", "loadtests.bench.held_clients", port, "/stream", str(count))


def test_held_answers_are_open_until_they_are_closed(fake: Fake) -> None:
    fake.body = b"data: part\n\n"
    with holding(clients(fake, 5), "5 streams", PLAN) as helper:
        assert close(helper) == 5


def test_held_answers_that_are_other_ones_fail(fake: Fake) -> None:
    fake.closes = True
    with (
        pytest.raises(GeneratorFailed, match="5 streams could not be opened"),
        holding(clients(fake, 5), "5 streams", PLAN),
    ):
        pytest.fail("they were opened")


def test_each_kind_has_its_columns_and_servers() -> None:
    columns = {metric.key for metric in BENCHMARK.metrics}
    for kind in KINDS:
        assert {f"{kind.name}_p99_ms", f"{kind.name}_health_ms", f"{kind.name}_kb"} <= columns
        assert set(kind.servers) <= set(servers())
    assert set(BENCHMARK.servers) == set(servers())
