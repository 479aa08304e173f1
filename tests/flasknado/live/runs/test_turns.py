"""Runs whose outputs are ready at once leave others their turns of the loop."""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import AsyncIterator
from typing import Any

from flasknado.live.options import LiveOptions
from flasknado.live.runs.active import ActiveRun
from flasknado.on_loop.streams import CHUNKS_PER_TURN, LoopStreams

OUTPUTS = 50
RUNS = 20


class CountingLog:
    """Counts what is published, by the turn of the loop."""

    def __init__(self) -> None:
        self.turn = 0
        self.of_turn: dict[int, int] = {}

    def publish_buffered(self, draft: Any) -> None:
        self.of_turn[self.turn] = self.of_turn.get(self.turn, 0) + 1


async def ready_at_once() -> AsyncIterator[int]:
    for number in range(OUTPUTS):
        yield number


def test_many_runs_publish_no_more_in_a_turn_than_one_may() -> None:
    log: Any = CountingLog()
    ended: list[ActiveRun] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        streams = LoopStreams(loop, 1, None)
        for number in range(RUNS):
            run = ActiveRun(
                str(number),
                "chat:1",
                "output",
                ready_at_once(),
                log,
                LiveOptions(),
                lambda data, _: json.dumps(data),
                lambda run, _: ended.append(run),
                keep_result=False,
            )
            run.start_on_loop(loop, contextvars.copy_context(), lambda: None, streams.turn)
        while len(ended) < RUNS:
            log.turn += 1
            await asyncio.sleep(0)

    asyncio.run(work())
    assert sum(log.of_turn.values()) == RUNS * OUTPUTS
    # Those that this turn has left, and the next one's.
    assert max(log.of_turn.values()) <= 2 * CHUNKS_PER_TURN
