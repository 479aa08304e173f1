"""A light, steady client that measures latency while something else makes the load.

Requests go out on a timetable, and each latency counts from the time on the timetable: a server
that stands still for a second is charged for every request that was due in it.
"""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass

TIMEOUT_S = 10
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
        rank = max(round(percent / 100 * len(self.latencies_ms) + 0.5), 1)
        return self.latencies_ms[min(rank, len(self.latencies_ms)) - 1]


def probe(
    address: tuple[str, int], path: str, seconds: float, per_second: float = REQUESTS_PER_S
) -> Probed:
    """Ask `path` at a steady rate on one kept-alive connection."""
    connection = http.client.HTTPConnection(*address, timeout=TIMEOUT_S)
    latencies_ms: list[float] = []
    failures = 0
    begins = time.perf_counter()
    try:
        for number in range(round(seconds * per_second)):
            due = begins + number / per_second
            wait_s = due - time.perf_counter()
            if wait_s > 0:
                time.sleep(wait_s)
            elif -wait_s > TIMEOUT_S:
                failures += 1
                continue
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
                failed = response.status != http.client.OK
            except (OSError, http.client.HTTPException):
                connection.close()
                failed = True
            if failed:
                failures += 1
            else:
                latencies_ms.append(1000 * (time.perf_counter() - due))
    finally:
        connection.close()
    return Probed(sorted(latencies_ms), failures)
