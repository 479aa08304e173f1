"""Light, steady clients that measure latency while something else makes the load.

Requests go out on a timetable, and each latency counts from the time on the timetable: a server
that stands still for a second is charged for every request that was due in it.
"""

from __future__ import annotations

import http.client
import math
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

TIMEOUT_S = 10
CONNECTIONS = 10
REQUESTS_PER_S = 100


@dataclass(frozen=True)
class Probed:
    """Latencies in ms, in order of size, and how many requests failed."""

    latencies_ms: list[float]
    failures: int

    def percentile_ms(self, percent: float) -> float:
        """Return the latency that `percent` of the answers do not exceed (nearest rank)."""
        if not self.latencies_ms:
            return float("inf")
        rank = max(math.ceil(percent / 100 * len(self.latencies_ms)), 1)
        return self.latencies_ms[rank - 1]


def probe(
    address: tuple[str, int],
    path: str,
    seconds: float,
    per_second: float = REQUESTS_PER_S,
    connections: int = CONNECTIONS,
) -> Probed:
    """Ask `path` at a steady rate for `seconds`, in turn on several kept-alive connections."""
    begins = time.perf_counter()
    count = round(seconds * per_second)

    def one(number: int) -> Probed:
        timetable = [begins + each / per_second for each in range(number, count, connections)]
        return _on_one_connection(address, path, timetable, begins + seconds)

    with ThreadPoolExecutor(connections, "probe") as threads:
        parts = list(threads.map(one, range(connections)))
    latencies_ms = sorted(latency for part in parts for latency in part.latencies_ms)
    return Probed(latencies_ms, sum(part.failures for part in parts))


def _on_one_connection(
    address: tuple[str, int], path: str, timetable: Iterable[float], ends: float
) -> Probed:
    connection = http.client.HTTPConnection(*address, timeout=TIMEOUT_S)
    latencies_ms: list[float] = []
    failures = 0
    try:
        for due in timetable:
            now = time.perf_counter()
            if now > ends:
                # It would be sent too late to be answered in time: it has waited so long at least.
                latencies_ms.append(1000 * (now - due))
            else:
                time.sleep(max(due - now, 0))
                if _answered(connection, path):
                    latencies_ms.append(1000 * (time.perf_counter() - due))
                else:
                    failures += 1
    finally:
        connection.close()
    return Probed(latencies_ms, failures)


def _answered(connection: http.client.HTTPConnection, path: str) -> bool:
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return False
    return response.status == http.client.OK
