"""What a number was measured on; a number without it says nothing."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtests.processes import Cores


def describe(cores: Cores) -> dict[str, Any]:
    """Return the machine, the system, the date and the load that others put on it."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "server_core": cores.server,
        "generator_core": cores.generator,
        "load_average_at_start": load_average(),
    }


def load_average() -> float:
    """Return how many processes wanted a processor in the last minute, on average."""
    return round(os.getloadavg()[0], 2)


def sentence(machine: dict[str, Any]) -> str:
    """Return the description as one paragraph."""
    pinned = (
        "server and generator on a core of their own"
        if machine["generator_core"] is not None
        else "server and generator **not** pinned to cores, so the numbers mean little"
    )
    return (
        f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, "
        f"{machine['system']}, Python {machine['python']}; {pinned}; "
        f"load average at the start {machine['load_average_at_start']}{_at_the_end(machine)}."
    )


def _at_the_end(machine: dict[str, Any]) -> str:
    end = machine.get("load_average_at_end")
    return "" if end is None else f", at the end {end}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
