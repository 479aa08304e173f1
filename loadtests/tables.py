"""Medians, spreads and tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """The rounds of one measurement: the median, and the least and greatest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Summary:
        """Summarise at least one value; raises `statistics.StatisticsError` for none."""
        ordered = sorted(values)
        return cls(statistics.median(ordered), ordered[0], ordered[-1])

    @property
    def spread(self) -> float:
        """Half of the range, as a share of the median: 0.05 is plus or minus 5 %."""
        return (self.high - self.low) / 2 / self.median if self.median else 0.0


def number(value: float, digits: int = 0) -> str:
    """Return a number with thousands' separators."""
    return f"{value:,.{digits}f}"


def with_spread(summary: Summary, digits: int = 0) -> str:
    """Return `12,345 ± 4 %`; the number alone if there was one round."""
    shown = number(summary.median, digits)
    if summary.low == summary.high:
        return shown
    return f"{shown} ± {100 * summary.spread:.0f} %"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table that is also aligned for the terminal; numbers go to the right."""
    cells = [list(headings), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]

    def line(row: Sequence[str]) -> str:
        first, *others = (
            text.ljust(width) if not column else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        return "| " + " | ".join([first, *others]) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(cells[0]), "| " + " | ".join(rule) + " |", *map(line, cells[1:])])
