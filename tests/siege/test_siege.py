"""A short run of every attack, judged without latencies; `make siege` is the long one."""

from __future__ import annotations

import pytest

from tests.siege.__main__ import line, siege
from tests.siege.attacks import ATTACKS
from tests.siege.setups import SETUPS

SECONDS = 0.2


@pytest.mark.timeout(240)
@pytest.mark.parametrize("setup", SETUPS)
def test_server_holds_against_every_attack(setup: str) -> None:
    outcomes = list(siege(setup, list(ATTACKS), SECONDS, judge_latency=False))

    assert outcomes
    assert [line(outcome) for outcome in outcomes if not outcome.held] == []
