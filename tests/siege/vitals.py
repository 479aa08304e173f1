"""What a worker has at one moment, as the kernel tells it (proc(5))."""

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
            int(threads[1]),
            len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208 (they vanish while they are read)
        )


def forget_peak(pid: int) -> None:
    """Let the peak of a process's memory count from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
