"""Waiting for a condition without guessing how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_S = 20.0
INTERVAL_S = 0.02


def poll(
    ask: Callable[[], T], until: Callable[[T], object] = bool, deadline_s: float = DEADLINE_S
) -> T:
    """Return the first answer that satisfies `until`; fails with the last one at the deadline."""
    ends = time.monotonic() + deadline_s
    while True:
        answer = ask()
        if until(answer):
            return answer
        assert time.monotonic() < ends, f"still {answer!r} after {deadline_s} s"
        time.sleep(INTERVAL_S)
