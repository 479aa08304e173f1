"""A lane: calls that hang do not shut out those behind them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flasknado.native import lane as lane_module
from flasknado.native.lane import Call, Lane, LaneSettings
from flasknado.pool import PoolFull

DEADLINE_S = 20.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "HANGS_AFTER_S", 0.1)
    monkeypatch.setattr(lane_module, "LOOK_INTERVAL_S", 0.02)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hanging calls wait for; it opens at the end of the test."""
    gate = threading.Event()
    yield gate
    gate.set()


async def run(
    lane: Lane, function: Callable[[], Any], timeout_s: float = DEADLINE_S, what: str = "a test"
) -> Any:
    return await lane.run(Call(what, function), timeout_s)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.01)


def test_call_returns_what_its_function_returns_or_raises() -> None:
    async def main() -> None:
        lane = Lane(LaneSettings("test-lane", 1, 8))
        assert await run(lane, lambda: threading.current_thread().name) == "flasknado-test-lane-0"
        with pytest.raises(ZeroDivisionError):
            await run(lane, lambda: 1 / 0)
        lane.stop()

    asyncio.run(main())


def test_calls_that_hang_are_replaced_and_named_once(
    gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    def wait_in_vain() -> None:
        gate.wait(DEADLINE_S)

    async def main() -> None:
        lane = Lane(LaneSettings("test-lane", 4, 100))
        hanging = [
            asyncio.ensure_future(run(lane, wait_in_vain, what=f"hook {n}")) for n in range(4)
        ]
        assert await run(lane, lambda: "served") == "served"
        await until(lambda: lane.hanging == 4)
        assert [await run(lane, lambda: n) for n in range(50)] == [*range(50)]  # noqa: B023
        gate.set()
        await asyncio.gather(*hanging)
        await until(lambda: lane.hanging == 0)
        assert await run(lane, lambda: "still") == "still"
        lane.stop()

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    for n in range(4):
        [said] = [
            r.getMessage()
            for r in caplog.records
            if f"has been running hook {n} for" in r.getMessage()
        ]
        assert "wait_in_vain" in said


def test_call_that_takes_long_but_in_time_is_answered(gate: threading.Event) -> None:
    async def main() -> None:
        lane = Lane(LaneSettings("test-lane", 1, 8))
        slow = asyncio.ensure_future(run(lane, lambda: gate.wait(DEADLINE_S)))
        await until(lambda: lane.hanging == 1)
        gate.set()
        assert await slow is True
        lane.stop()

    asyncio.run(main())


def test_threads_that_are_replaced_are_bounded_and_come_back(gate: threading.Event) -> None:
    async def main() -> None:
        lane = Lane(LaneSettings("test-lane", 1, 2))
        calls = [asyncio.ensure_future(run(lane, lambda: gate.wait(DEADLINE_S)))]
        # One thread, and four more in the place of those that hang.
        for count in range(1, 6):
            await until(lambda: lane.hanging == count)  # noqa: B023
            calls.append(asyncio.ensure_future(run(lane, lambda: gate.wait(DEADLINE_S))))
        with pytest.raises(TimeoutError):
            await run(lane, lambda: "never", timeout_s=0.3)
        calls.append(asyncio.ensure_future(run(lane, lambda: "later")))
        await asyncio.sleep(0)
        with pytest.raises(PoolFull):
            await run(lane, lambda: "never")
        assert lane.hanging == 5
        gate.set()
        assert await asyncio.gather(*calls) == [True] * 6 + ["later"]
        await until(lambda: not lane.hanging and lane._pool.threads == 1)
        lane.stop()

    asyncio.run(main())
