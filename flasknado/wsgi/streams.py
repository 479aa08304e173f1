"""How many responses hold a thread each: streams, taken sockets, views that were set aside.

They have a bound of their own, beside that of the pool, so that requests keep its threads.
"""

from __future__ import annotations

import threading
from time import monotonic

try:
    from werkzeug.exceptions import ServiceUnavailable
except ImportError:  # served applications need not be made with it
    ServiceUnavailable = Exception  # type: ignore[assignment, misc]

from flasknado.errors import FlasknadoError
from flasknado.pool import Pool, Task

PRESSED_S = 5.0
"""How long streams count as in demand after one has been refused."""


class StreamsFull(FlasknadoError, ServiceUnavailable):
    """As many responses hold a thread as may; its client has been answered 503 already."""


class Streams:
    """Counts the tasks of a pool that hold a thread, so that no more than `limit` do.

    limit: 0 for none; then they count as all requests do. May be used on any thread.
    """

    def __init__(self, pool: Pool, limit: int) -> None:
        self.limit = limit
        self.refused = 0
        """How many were refused."""
        self._pool = pool
        self._lock = threading.Lock()
        self._open: set[Task] = set()
        self._refused_at = -PRESSED_S

    def begin(self, task: Task) -> bool:
        """Count a task whose response has no known end, unless there are too many."""
        with self._lock:
            if self.limit and self._used() >= self.limit:
                self.refused += 1
                self._refused_at = monotonic()
                return False
            self._open.add(task)
            return True

    def end(self, task: Task) -> None:
        """Count it no more."""
        with self._lock:
            self._open.discard(task)

    def may_hold(self, task: Task) -> bool:
        """Return whether a task may be set aside."""
        with self._lock:
            return task in self._open or self._used() < self.limit

    @property
    def used(self) -> int:
        """How many are counted now."""
        with self._lock:
            return self._used()

    @property
    def full(self) -> bool:
        """Whether one more would be refused."""
        return bool(self.limit) and self.used >= self.limit

    @property
    def refused_lately(self) -> bool:
        """Whether one has been refused in the last `PRESSED_S`."""
        return monotonic() - self._refused_at < PRESSED_S

    def _used(self) -> int:
        others = 0
        for worker in self._pool.aside:
            task = worker.task
            if task is not None and task not in self._open:
                others += 1
        return len(self._open) + others
