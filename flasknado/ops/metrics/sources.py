"""Where a worker's numbers come from: connections, pool, readiness, process, live clients.

All of them are plain numbers that are kept anyway; they are read once a second. Other
parts add theirs with `add_source`. One that fails is left out and said to be failing: its
numbers are unknown. Everything here belongs to the loop's thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from flasknado.durations import summed
from flasknado.ops.metrics.model import COUNTER, GAUGE, HISTOGRAM, Family, labelled, single
from flasknado.ops.vitals import live_state_of
from flasknado.server import HTTPServer

Source = Callable[[], Iterable[Family]]
"""Returns families of numbers; called on the loop's thread about once a second.

It reads what is there and waits for nothing: no lock, no database.
"""

SOURCES_KEY = "metrics_sources"
"""The setting of a server's native application that lists further sources."""


def add_source(server: HTTPServer, source: Source) -> None:
    """Add the families that `source()` returns to the metrics of a server."""
    server.native.application.settings.setdefault(SOURCES_KEY, []).append(source)


def connections(server: HTTPServer) -> list[Family]:
    """Return the numbers of connections and of requests under way."""
    counters = server.counters
    return [
        single(GAUGE, "draining", "1 while the worker drains.", float(server.draining)),
        single(GAUGE, "connections", "Open connections.", counters.connections_open),
        single(
            GAUGE,
            "connections_upgraded",
            "Open connections that have left HTTP (WebSocket, live events).",
            counters.connections_upgraded,
        ),
        single(
            COUNTER,
            "connections_accepted",
            "Connections accepted.",
            counters.connections_accepted,
        ),
        single(
            COUNTER,
            "connections_refused",
            "Connections closed at once: as many were open as may be.",
            counters.connections_refused,
        ),
        labelled(
            GAUGE, "requests_in_flight", "Requests that have not ended.", "half", counters.running
        ),
    ]


def memory(server: HTTPServer) -> list[Family]:
    """Return what clients make the worker hold, and how much they may."""
    budget = server.budget
    held = {"bodies": budget.bodies_bytes, "unsent": budget.unsent_bytes}
    refused = budget.refused
    return [
        labelled(GAUGE, "memory_held_bytes", "Memory held for clients.", "what", held),
        single(GAUGE, "memory_limit_bytes", "What may be held for clients.", budget.limit_bytes),
        single(COUNTER, "bodies_refused", "Bodies answered 503: no memory for them.", refused),
    ]


def pool(server: HTTPServer) -> list[Family]:
    """Return the numbers of the threads that run the application."""
    if server.container is None:
        return []
    threads = server.container.pool
    shed = {"queue_full": threads.refused, "queue_timeout": threads.shed}
    stuck = server.container.stuck
    held = server.container.stream_counts()
    streams = server.container.streams
    return [
        single(GAUGE, "pool_threads", "Threads that run the application.", threads.threads),
        single(GAUGE, "pool_threads_busy", "Threads that run a request now.", threads.busy),
        single(
            GAUGE,
            "pool_running_limit",
            "Threads that may run at once; fewer while they compute.",
            threads.running_limit,
        ),
        single(GAUGE, "pool_queue_requests", "Requests that wait for a thread.", threads.queued),
        single(GAUGE, "pool_queue_limit", "Requests that may wait.", threads.queue_limit),
        labelled(COUNTER, "pool_shed", "Requests answered 503 by the pool.", "reason", shed),
        Family(
            HISTOGRAM,
            "pool_wait_seconds",
            "How long requests waited for a thread.",
            (),
            {(): summed(threads.waits)},
        ),
        single(
            GAUGE, "pool_threads_stuck", "Threads with a request answered 504 or abandoned.", stuck
        ),
        single(
            GAUGE,
            "loop_streams",
            "Responses that the event loop makes now.",
            server.container.loop_host.stream_count,
        ),
        labelled(
            GAUGE,
            "streams",
            "Streams, taken sockets and long polls; each holds a thread.",
            "state",
            held._asdict(),
        ),
        single(
            GAUGE, "stream_threads", "Threads that hold one beside the pool.", len(threads.aside)
        ),
        single(GAUGE, "stream_threads_limit", "How many may have one.", streams.limit),
        single(COUNTER, "streams_refused", "Streams answered 503.", streams.refused),
    ]


def process(started_at: float) -> list[Family]:
    """Return the numbers of this process, which started at this `time.time`."""
    times = os.times()
    families = [
        single(COUNTER, "cpu_seconds", "Processor time of the workers.", times.user + times.system),
        single(GAUGE, "started_at_seconds", "When the worker started (Unix time).", started_at),
    ]
    taken_bytes = resident_bytes()
    if taken_bytes is not None:
        meaning = "Memory of the worker in RAM."
        families.append(single(GAUGE, "resident_memory_bytes", meaning, taken_bytes))
    return families


def resident_bytes() -> int | None:
    """Return the resident memory of this process where the system tells (Linux: proc(5))."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


class LiveSource:
    """The numbers of the hubs of `flasknado.live`, if the application uses it.

    A hub goes away before its worker does, and what it has counted must not.
    """

    def __init__(self, server: HTTPServer) -> None:
        self._hubs: list[Any] = []
        self._transports: set[str] = set()
        self._state = live_state_of(server)

    def __call__(self) -> list[Family]:
        for hub in list(getattr(self._state, "hubs", {}).values()):
            if not any(hub is known for known in self._hubs):
                self._hubs.append(hub)
        runs = _runs(self._state)
        if not self._hubs:
            return runs
        all_stats = [hub.stats() for hub in self._hubs]
        subscribers = _sums(stats["transports"] for stats in all_stats)
        self._transports.update(subscribers)
        gone = _sums(stats["gone"] for stats in all_stats)
        delivered = sum(stats["delivered_total"] for stats in all_stats)
        shown = {name: subscribers.get(name, 0) for name in sorted(self._transports)}
        meaning = "Live clients that were sent away."
        unreadable_s = max(stats["log_unreadable_s"] for stats in all_stats)
        return [
            single(
                GAUGE,
                "live_log_unreadable_seconds",
                "For how long the log of live events has not been readable; 0 if it is.",
                unreadable_s,
            ),
            single(
                GAUGE,
                "live_guests",
                "Open WebSockets that have not subscribed to anything yet.",
                sum(stats["guests"] for stats in all_stats),
            ),
            labelled(GAUGE, "live_subscribers", "Live clients.", "transport", shown),
            labelled(COUNTER, "live_disconnects", meaning, "reason", gone),
            single(COUNTER, "live_deliveries", "Events written to live clients.", delivered),
            *_caches(self._state),
            *runs,
        ]


def _runs(state: Any) -> list[Family]:
    """Return the numbers of the durable runs."""
    if state is None:
        return []
    counts = state.runs.counts()
    return [
        single(COUNTER, "live_runs_started", "Durable runs that were started.", counts.started),
        single(GAUGE, "live_runs", "Durable runs that go on.", counts.running),
        labelled(COUNTER, "live_runs_ended", "Durable runs that ended.", "outcome", counts.ended),
    ]


def _caches(state: Any) -> list[Family]:
    """Return the numbers of the pages of cached views, if there are such views."""
    total = _sums(cache.stats() for cache in getattr(state, "caches", ()))
    if not total:
        return []
    results = {name: total[name] for name in ("hit", "miss", "collapsed", "bypass", "late")}
    held_bytes, limit_bytes = total["held_bytes"], total["limit_bytes"]
    return [
        labelled(COUNTER, "live_cache_requests", "Requests for cached views.", "result", results),
        single(COUNTER, "live_cache_ended", "Kept pages that events have ended.", total["ended"]),
        single(GAUGE, "live_cache_pages", "Pages that are kept.", total["pages"]),
        single(GAUGE, "live_cache_held_bytes", "Memory of the kept pages.", held_bytes),
        single(GAUGE, "live_cache_limit_bytes", "How much they may take.", limit_bytes),
    ]


def _sums(all_counts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for counts in all_counts:
        for key, value in counts.items():
            total[key] = total.get(key, 0) + value
    return total
