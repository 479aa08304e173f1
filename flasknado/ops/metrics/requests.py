"""Requests counted by half, route and status as they end: plain integers, on the loop's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flasknado.durations import Durations
from flasknado.http.counters import NATIVE, ORDINARY
from flasknado.http.message import RequestHead
from flasknado.ops.metrics.model import COUNTER, HISTOGRAM, Family

if TYPE_CHECKING:
    from flasknado.native.routes import NativeRoutes

NO_ROUTE: Final = "-"
"""The route of a request that none matched, or of an application that has no rules."""

ROUTES_LIMIT: Final = 2000
"""So many routes are told apart; a further one is counted as `NO_ROUTE`."""

KNOWN_PATHS_LIMIT: Final = 1024
KNOWN_PATH_CHARACTERS: Final = 256
"""The routes of so many paths are kept, if the path is no longer than that."""


class RouteCounts:
    """The numbers of one route."""

    __slots__ = ("durations", "sent_bytes", "statuses")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.durations = Durations()
        self.sent_bytes = 0


class Requests:
    """Counts the requests of one server; belongs to the loop's thread."""

    def __init__(self, native: NativeRoutes) -> None:
        self._native = native
        self._routes: dict[tuple[str, str], RouteCounts] = {}
        self._known_paths: dict[str, str] = {}
        self._known_specs = 0

    def route_of(self, head: RequestHead | None, half: str) -> str:
        """Return what the request is counted by: Flask's rule, or the native pattern."""
        if head is None:
            return NO_ROUTE
        if half is ORDINARY:
            return head.route or NO_ROUTE
        if half is NATIVE:
            return self._native_route(head.path)
        return NO_ROUTE

    def count(self, status: int, sent_bytes: int, duration_s: float, half: str, route: str) -> None:
        """Count one request that has ended."""
        counts = self._routes.get((half, route))
        if counts is None:
            counts = self._begin(half, route)
        statuses = counts.statuses
        statuses[status] = statuses.get(status, 0) + 1
        counts.sent_bytes += sent_bytes
        counts.durations.add(duration_s)

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

    def _native_route(self, path: str) -> str:
        specs = self._native.specs
        known = self._known_paths
        if self._known_specs != len(specs) or len(known) >= KNOWN_PATHS_LIMIT:
            self._known_specs = len(specs)
            known.clear()
        route = known.get(path)
        if route is None:
            matching = (spec for spec in specs if spec.regex.match(path))
            spec = next(matching, None)
            route = spec.regex.pattern.removesuffix("$") if spec is not None else NO_ROUTE
            if len(path) <= KNOWN_PATH_CHARACTERS:
                known[path] = route
        return route
