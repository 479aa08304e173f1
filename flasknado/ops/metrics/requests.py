"""Requests counted by half, route and status as they end: plain integers, on the loop's thread."""

from __future__ import annotations

from typing import Final

from flasknado.durations import Durations
from flasknado.http.message import Finished
from flasknado.ops.metrics.model import COUNTER, HISTOGRAM, Family

NO_ROUTE: Final = "-"
"""The route of a request that none matched, or of an application that has no rules."""

ROUTES_LIMIT: Final = 2000
"""So many routes are told apart; a further one is counted as `NO_ROUTE`."""


class RouteCounts:
    """The numbers of one route."""

    __slots__ = ("durations", "sent_bytes", "statuses")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.durations = Durations()
        self.sent_bytes = 0


class Requests:
    """Counts the requests of one server; belongs to the loop's thread."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str, str], RouteCounts] = {}

    def count(self, finished: Finished) -> None:
        """Count one request that has ended, by Flask's rule or the native pattern."""
        half, status, route = finished.half, finished.status, finished.route or NO_ROUTE
        counts = self._routes.get((half, route))
        if counts is None:
            counts = self._begin(half, route)
        statuses = counts.statuses
        statuses[status] = statuses.get(status, 0) + 1
        counts.sent_bytes += finished.sent_bytes
        counts.durations.add(finished.duration_s)

    def families(self) -> list[Family]:
        """Return the numbers by half, route and status."""
        requests: dict[tuple[str, ...], float | list[float]] = {}
        durations: dict[tuple[str, ...], float | list[float]] = {}
        sent: dict[tuple[str, ...], float | list[float]] = {}
        for key, counts in self._routes.items():
            for status, count in counts.statuses.items():
                requests[(*key, str(status))] = count
            durations[key] = counts.durations.values()
            sent[key] = counts.sent_bytes
        labels = ("half", "route")
        return [
            Family(COUNTER, "requests", "Requests that have ended.", (*labels, "status"), requests),
            Family(
                HISTOGRAM,
                "request_duration_seconds",
                "From a request's head to the end of its response, or of HTTP on its connection.",
                labels,
                durations,
            ),
            Family(
                COUNTER, "response_bytes", "Bytes of responses, with their heads.", labels, sent
            ),
        ]

    def _begin(self, half: str, route: str) -> RouteCounts:
        if len(self._routes) >= ROUTES_LIMIT:
            route = NO_ROUTE
        return self._routes.setdefault((half, route), RouteCounts())
