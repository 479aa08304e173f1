"""What a server used of its core during a measurement, and what others did."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests.processes import Running

SHARED_CORE = 0.1
"""The share of the server's core above which other processes have been measured too."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_IDLE, _IOWAIT, _STEAL = 3, 4, 7


@dataclass(frozen=True)
class Usage:
    """`server_s` is the server's processor time; `others_share` what others had of its core.

    `others_share` is `None` if the server has no cores of its own.
    """

    server_s: float
    others_share: float | None


class Meter:
    """Watches a server and its cores from now on."""

    def __init__(self, running: Running, cores: Sequence[int]) -> None:
        self._running = running
        self._cores = cores
        self._began_at = time.monotonic()
        self._server_s = running.processor_s()
        self._busy_s = sum(map(busy_s, cores))

    def read(self) -> Usage:
        """Return what was used since the meter was made."""
        server_s = self._running.processor_s() - self._server_s
        if not self._cores:
            return Usage(server_s, None)
        elapsed_s = time.monotonic() - self._began_at
        others_s = sum(map(busy_s, self._cores)) - self._busy_s - server_s
        return Usage(server_s, max(others_s, 0.0) / elapsed_s / len(self._cores))


def busy_s(core: int) -> float:
    """Return for how long a core has been busy, or kept from us by the machine's host (proc(5))."""
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        label, *fields = line.split()
        if label == f"cpu{core}":
            ticks = list(map(int, fields[: _STEAL + 1]))
            return (sum(ticks) - ticks[_IDLE] - ticks[_IOWAIT]) / _TICKS_PER_S
    return 0.0
