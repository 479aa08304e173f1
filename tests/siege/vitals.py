"""What a worker has at one moment, as the kernel tells it (proc(5), sched-stats)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from loadtests.processes import processor_s, resident_bytes

MB = 1_000_000
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)
_THREADS = re.compile(r"^Threads:\s+(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Vitals:
    """Memory in MB, processor time in s, and how many threads and descriptors."""

    memory_mb: float
    peak_mb: float
    """The most memory since `forget_peak`, or since the process began."""
    processor_s: float
    loop_ran_s: float
    """How long the loop's thread has had a core."""
    loop_waited_s: float
    """How long it has waited for one, because others had them all."""
    threads: int
    descriptors: int

    @classmethod
    def of(cls, pid: int) -> Vitals:
        """Read them; raises `OSError` if the process has ended."""
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        peak, threads = _PEAK.search(status), _THREADS.search(status)
        if peak is None or threads is None:
            raise ProcessLookupError(f"process {pid} has ended")
        return cls(
            resident_bytes(pid) / MB,
            int(peak[1]) * 1024 / MB,
            processor_s(pid),
            *_loop_s(pid),
            int(threads[1]),
            len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208 (they vanish while they are read)
        )


def stretch(before: Vitals, after: Vitals) -> float:
    """Return how many times as long the loop took as it would have with a core of its own."""
    ran_s = after.loop_ran_s - before.loop_ran_s
    waited_s = after.loop_waited_s - before.loop_waited_s
    return 1 + waited_s / ran_s if ran_s > 0 else 1.0


def _loop_s(pid: int) -> tuple[float, float]:
    """Return how long a process's main thread has run, and waited for a core."""
    ran, waited = Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[:2]
    return int(ran) / 1e9, int(waited) / 1e9


def forget_peak(pid: int) -> None:
    """Let the peak of a process's memory count from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
