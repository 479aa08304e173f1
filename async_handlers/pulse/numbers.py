"""What the pulse shows: how the server's metrics changed from one second to the next. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flasknado import Family

GAUGES = {
    "connections": "connections",
    "threads_busy": "pool_threads_busy",
    "threads_waiting": "pool_queue_requests",
    "subscribers": "live_subscribers",
}


class Pulse:
    """Turns metrics that only grow into what happened since the last time."""

    def __init__(self) -> None:
        self._before: dict[str, float] = {}

    def beat(self, families: Iterable[Family], elapsed_s: float, lag_s: float) -> dict[str, float]:
        """Return the numbers of the last `elapsed_s` seconds.

        Args:
            families: the metrics as they are now.
            elapsed_s: the time since the last beat.
            lag_s: how late the event loop was.
        """
        by_name = {family.name: family for family in families}
        numbers = {shown: _sum(by_name.get(name)) for shown, name in GAUGES.items()}
        for half, shown in (("ordinary", "requests_flask"), ("native", "requests_native")):
            numbers[shown] = self._rate(shown, _sum(by_name.get("requests"), half), elapsed_s)
        delivered = _sum(by_name.get("live_deliveries"))
        numbers["events"] = self._rate("events", delivered, elapsed_s)
        numbers["latency_ms"] = self._latency_s(by_name.get("request_duration_seconds")) * 1000
        numbers["lag_ms"] = lag_s * 1000
        return {name: round(value, 3) for name, value in numbers.items()}

    def _rate(self, name: str, total: float, elapsed_s: float) -> float:
        return self._more(name, total) / max(elapsed_s, 0.001)

    def _more(self, name: str, total: float) -> float:
        before = self._before.get(name, total)
        self._before[name] = total
        return max(0.0, total - before)

    def _latency_s(self, durations: Family | None) -> float:
        """Return how long the requests of Flask's half took on average that ended since then."""
        count = sum_s = 0.0
        for labels, values in (durations.samples if durations else {}).items():
            if labels[0] == "ordinary" and isinstance(values, list):
                count += sum(values[:-1])
                sum_s += values[-1]
        ended, took_s = self._more("ended", count), self._more("took_s", sum_s)
        return took_s / ended if ended else 0.0


def _sum(family: Family | None, first_label: str | None = None) -> float:
    samples: dict[tuple[str, ...], Any] = family.samples if family else {}
    return float(
        sum(
            value
            for labels, value in samples.items()
            if first_label is None or labels[0] == first_label
        )
    )
