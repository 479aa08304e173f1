"""The memory that clients may make one process hold: bodies, write buffers, live backlogs.

At the bound no more of any body is read; who still has a body to send is refused (503). Below
it again, reading goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flasknado.errors import RequestError
from flasknado.http.allocator import TRIM_BYTES, give_back_freed
from flasknado.sizes import MIB

if TYPE_CHECKING:
    import asyncio

SHARE: Final = 0.5
"""The share of the machine's memory, or of the control group's, that clients may take."""

LEAST_BYTES: Final = 64 * MIB
"""What a worker may hold by default on the smallest machine."""

RETRY_AFTER_S: Final = 5

GROUP_LIMITS: Final = (
    "/sys/fs/cgroup/memory.max",  # version 2
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",  # version 1
)


class MemoryBudget:
    """What one process holds for its clients, and how much it may. Belongs to the loop's thread.

    Bodies are counted as they come. Write buffers and backlogs are looked at once a
    second (`look`), for they are bounded for each client by themselves.
    """

    __slots__ = (
        "_most_bytes",
        "bodies_bytes",
        "full",
        "limit_bytes",
        "on_change",
        "owing",
        "refused",
        "sources",
        "unsent_bytes",
    )

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.bodies_bytes = 0
        """Bodies in memory, from their first byte to the end of the response."""
        self.unsent_bytes = 0
        """What waited for slow clients at the last look."""
        self.full = False
        """Whether no more bodies may be taken."""
        self.refused = 0
        """How many bodies have been refused."""
        self.owing: set[asyncio.Transport] = set()
        """Connections whose client does not keep up."""
        self.sources: list[Callable[[], int]] = []
        """What else says how many bytes it holds."""
        self.on_change: list[Callable[[bool], None]] = []
        """Called with `full` when that changes."""
        self._most_bytes = 0
        """The most that was held at a look, since freed memory was last given back."""

    @property
    def held_bytes(self) -> int:
        """How much is held, as far as is known."""
        return self.bodies_bytes + self.unsent_bytes

    def hold(self, size_bytes: int) -> None:
        """Count bytes of a body that have come, or with a negative number that have gone."""
        self.bodies_bytes += size_bytes
        if self.full is not (self.held_bytes >= self.limit_bytes):
            self._change()

    def look(self) -> None:
        """Look at what waits for slow clients, and give back what a flood had taken."""
        unsent_bytes = sum(transport.get_write_buffer_size() for transport in self.owing)
        self.unsent_bytes = unsent_bytes + sum(source() for source in self.sources)
        self.hold(0)
        held_bytes = self.held_bytes
        if held_bytes >= self._most_bytes:
            self._most_bytes = held_bytes
        elif self._most_bytes - held_bytes >= TRIM_BYTES and held_bytes * 8 <= self._most_bytes:
            self._most_bytes = held_bytes
            give_back_freed()

    def _change(self) -> None:
        # Reading goes on only with some room, so that it does not stop again at once.
        if self.full and self.held_bytes > self.limit_bytes * 7 // 8:
            return
        self.full = not self.full
        for tell in self.on_change:
            tell(self.full)

    def refusal(self) -> RequestError:
        """Return the refusal of a body for which there is no room (503)."""
        self.refused += 1
        fields = (("Retry-After", str(RETRY_AFTER_S)),)
        return RequestError(
            503, "the server is short of memory for request bodies: try again shortly", fields
        )


def default_limit_bytes(workers: int = 1, group_limits: tuple[str, ...] = GROUP_LIMITS) -> int:
    """Return what each of some worker processes may hold; any thread.

    Half of what the control group allows, or of the machine's memory if that is less,
    divided among the workers. `group_limits` are the files where the system tells of that.
    """
    return max(LEAST_BYTES, int(available_bytes(group_limits) * SHARE) // max(workers, 1))


def available_bytes(group_limits: tuple[str, ...] = GROUP_LIMITS) -> int:
    """Return the memory that this process's machine or control group has."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in group_limits:
        try:
            sizes.append(int(Path(name).read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return min(sizes)
