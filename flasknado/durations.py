"""How long things took, counted in buckets: plain numbers, cheap to add to. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

BOUNDS_S: Final[tuple[float, ...]] = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)
"""The upper bounds of the buckets, in seconds; one more bucket holds what took longer."""


class Durations:
    """Counts of durations by bucket, and their sum. Added to by one thread, read by any."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def add(self, duration_s: float) -> None:
        """Count one."""
        bucket = 0
        for bound_s in BOUNDS_S:  # most are short
            if duration_s <= bound_s:
                break
            bucket += 1
        self.counts[bucket] += 1
        self.sum_s += duration_s

    def values(self) -> list[float]:
        """Return the counts of the buckets, and after them the sum in seconds."""
        return [*self.counts, self.sum_s]


def summed(all_durations: Iterable[Durations]) -> list[float]:
    """Return the `values()` of several together."""
    return [sum(column) for column in zip(*(d.values() for d in all_durations), strict=True)]
