"""How many tasks run at once: as many as there are threads, and fewer while they compute.

Python's threads take turns at the interpreter. Sixteen that compute make the loop wait for
sixteen turns, again and again in one request, while they finish no sooner than two would.
So the loop measures how late it comes to its turn; if it is late and the pool's threads
use the processor, fewer may run at once. Threads that wait (for a database, for another
server) use little of it, so they are never held back for long; nor is anybody by a few
that compute for seconds, for those are not counted against the limit.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Final

from flasknado.pool import Pool

TICK_S: Final = 0.02
"""How often the loop looks, while more run than may always run."""

LATE_S: Final = 0.003
"""How late the loop may come to its turn before fewer tasks run; timers are good to 1 ms."""

COMPUTING_SHARE: Final = 0.5
"""The share of one processor that threads use when they compute rather than wait."""

WAITING_SHARE: Final = 0.35
"""Below this share threads wait more than they compute, and more may run."""

LEAST_RUNNING: Final = 2
"""How many may always run, beside those that have run for long."""

LONG_S: Final = 0.25
"""Tasks that have run for longer would keep the others waiting, so others run beside them."""

CALM_TICKS: Final = 50
"""After so many ticks in which the loop was prompt, one more may run, whatever they do."""


class Pacer:
    """Sets a pool's `running_limit` by what its threads do. Belongs to the loop's thread.

    `each_tick` is called first whenever it looks.
    """

    def __init__(self, pool: Pool, each_tick: Callable[[], None] | None = None) -> None:
        self.late_s = LATE_S
        self.computing_share = COMPUTING_SHARE
        self.waiting_share = WAITING_SHARE
        self.resting = True
        """Whether nobody looks, because hardly anything runs."""
        self._pool = pool
        self._each_tick = each_tick
        self._measures = hasattr(time, "pthread_getcpuclockid")
        """Whether the system tells what threads use; on macOS all may run at once."""
        self._timer: asyncio.TimerHandle | None = None
        self._due_at = 0.0
        self._looked_at = 0.0
        self._used_s = 0.0
        self._calm_ticks = 0

    def begin(self) -> None:
        """Look from now on, until the pool is at rest again."""
        self._looked_at = time.monotonic()
        self._used_s = self._processor_seconds()
        self._later()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.resting = True

    def forget(self, thread: threading.Thread) -> None:
        """Count the processor time of a thread no more: it has left the pool."""
        self._used_s -= processor_seconds(thread)

    def _later(self) -> None:
        self.resting = False
        self._due_at = time.monotonic() + TICK_S
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._look)

    def _look(self) -> None:
        now = time.monotonic()
        if self._each_tick is not None:
            self._each_tick()
        used_s = self._processor_seconds()
        share = (used_s - self._used_s) / max(now - self._looked_at, TICK_S)
        if self._measures:
            self.decide(now - self._due_at, share)
        self._looked_at, self._used_s = now, used_s
        pool = self._pool
        if pool.queued or pool.busy > LEAST_RUNNING or pool.running_limit < pool.threads:
            self._later()
        else:
            self._timer = None
            self.resting = True

    def decide(self, late_s: float, share: float) -> None:
        """Set the limit, knowing how late the loop is and which share of a processor is used."""
        pool = self._pool
        least = LEAST_RUNNING + len(pool.running_longer_than(LONG_S))
        limit = max(least, pool.running_limit)
        if late_s > self.late_s and share > self.computing_share:
            self._calm_ticks = 0
            limit = max(least, min(limit, pool.busy) // 2)
        elif share < self.waiting_share:
            self._calm_ticks = 0
            limit += max(1, limit // 2)
        elif late_s < self.late_s / 2:
            self._calm_ticks += 1
            if self._calm_ticks >= CALM_TICKS:
                self._calm_ticks = 0
                limit += 1
        if limit != pool.running_limit:
            pool.running_limit = limit

    def _processor_seconds(self) -> float:
        """Return the processor time that the pool's threads have used so far, in seconds."""
        used_s = 0.0
        for worker in self._pool.workers:
            if worker.thread is not None:
                used_s += processor_seconds(worker.thread)
        return used_s


def processor_seconds(thread: threading.Thread) -> float:
    """Return the processor time that a thread has used; 0 if it has ended, or nobody knows."""
    if thread.ident is None or not thread.is_alive() or not hasattr(time, "pthread_getcpuclockid"):
        return 0.0
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
