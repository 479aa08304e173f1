"""Idle connections are held by a helper, counted and closed."""

from __future__ import annotations

import pytest

from loadtests.bench.benchmark import Plan
from loadtests.bench.idle import close, idle_connections
from loadtests.bench.wrk import GeneratorFailed
from loadtests.processes import Cores
from tests.loadtests.fakes import Fake, running_of
from tests.support.poll import poll

PLAN = Plan(Cores(None, None), idle_connections=20)


def test_idle_connections_are_open_until_they_are_closed(fake: Fake) -> None:
    with idle_connections(running_of(fake), PLAN) as helper:
        assert close(helper) == 20
        assert helper.poll() == 0


def test_idle_connections_that_the_server_closes_are_not_counted(fake: Fake) -> None:
    fake.closes = True

    with idle_connections(running_of(fake), PLAN) as helper:
        poll(lambda: fake.connections == 0)
        assert close(helper) == 0


def test_idle_connections_that_cannot_be_opened_fail(fake: Fake) -> None:
    fake.body = b"something else"
    fake.closes = True

    with (
        pytest.raises(GeneratorFailed, match="20 idle connections could not be opened"),
        idle_connections(running_of(fake), PLAN),
    ):
        pytest.fail("they were opened")
