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


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], names: int = 1) -> str:
    """Return a Markdown table that is also aligned for the terminal.

    The first `names` columns are names and go to the left, the others numbers, to the right.
    """
    cells = [list(headings), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]

    def line(row: Sequence[str]) -> str:
        aligned = (
            text.ljust(width) if column < names else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        return "| " + " | ".join(aligned) + " |"

    rule = [
        "-" * width if column < names else "-" * (width - 1) + ":"
        for column, width in enumerate(widths)
    ]
    return "\n".join(map(line, (cells[0], rule, *cells[1:])))
