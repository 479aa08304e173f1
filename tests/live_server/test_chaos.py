"""A short run of the judge of the live part; `make chaos` is the long one."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest

from tests.live_server.chaos import Plan, judge, run
from tests.live_server.followers import Fleet

PLAN = Plan(seconds=3, subscribers=150, events_per_s=60, phase_events=40)
MAX_WORKER_BYTES = 250_000_000
"""Far above what 150 clients need, far below what unbounded ones that never read would."""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_followers_get_every_event_once_in_order_whatever_breaks(
    database: str, tmp_path: Path
) -> None:
    verdict = run(database, PLAN, tmp_path)
    assert verdict.errors == 0, verdict
    assert verdict.failures == [], verdict
    assert verdict.events > 3 * PLAN.phase_events, verdict
    assert verdict.cuts > 0, verdict
    assert all(verdict.done[kind] for kind in ("kill", "reload")), verdict
    if database == "postgresql":
        assert verdict.done["restart_database"] > 0, verdict
        assert verdict.done["kill_sequencer"] > 0, verdict
    assert verdict.deaf_disconnected > 0, verdict
    assert verdict.worker_bytes < MAX_WORKER_BYTES, verdict
    # The median, with much room: the machine's other work moves both.
    calm, with_deaf = (verdict.latency_ms[phase][0] for phase in ("calm", "some deaf"))
    assert with_deaf < 3 * calm + 50, verdict


def test_judge_counts_what_is_lost_doubled_disordered_and_strange() -> None:
    fleet = Fleet(0, "epoch:0", [["even", "odd"], ["even"]])
    fleet.add(5)
    for follower in fleet.followers[:4]:
        follower.received = array("q", [1, 2, 3, 4])
    fleet.followers[4].received = array("q", [6, 4, 4, 3])
    verdict = judge(fleet, {"odd": [1, 3], "even": [2, 4]})
    assert (verdict.gaps, verdict.strangers) == (1, 2)
    assert (verdict.duplicates, verdict.disorders) == (1, 2)
