"""The threads that run the application, and the bounded queue before them.

A task is run by one thread, in one `contextvars.Context`, from beginning to end. A task
that waits too long is shed: its client is told so and no thread runs it.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import deque

from flasknado.durations import Durations
from flasknado.errors import FlasknadoError

log = logging.getLogger("flasknado.error")


class PoolFull(FlasknadoError):
    """As many tasks wait as may wait; try again later."""


class Task(ABC):
    """Something for a pool thread to do, claimed by exactly one: a thread, or the shedder."""

    __slots__ = ("_claim", "queued_at", "started_at")

    def __init__(self) -> None:
        self._claim = [True]
        self.started_at = 0.0
        """When a thread began to run it, on the same clock; 0 while it waits."""
        self.queued_at = 0.0
        """When it began to wait, in seconds of `time.monotonic`."""

    def claim(self) -> bool:
        """Return True to the first caller and False to every other. May be called on any thread."""
        try:
            return self._claim.pop()  # atomic under the interpreter's lock and without it
        except IndexError:
            return False

    @property
    def claimed(self) -> bool:
        """Whether somebody has claimed it."""
        return not self._claim

    @abstractmethod
    def run(self) -> None:
        """Do it; called on a pool thread, in a context of its own."""

    @abstractmethod
    def shed(self) -> None:
        """Say that it will not be done; called on the loop's thread, must not block."""


class Pool:
    """A fixed number of named threads behind a bounded queue.

    `threads` start at the first `submit()` (so after a fork). At most `queue_limit` tasks
    wait; one more raises `PoolFull`. `submit` and `shed_older_than` belong to one thread,
    the loop's; the gauges may be read on any.
    """

    def __init__(self, threads: int, queue_limit: int, name: str = "flasknado-wsgi") -> None:
        self.threads = threads
        self.queue_limit = queue_limit
        self.name = name
        self._waiting: deque[Task] = deque()
        # One True for each task that waits wakes a thread; a False ends one. A thread that
        # finds its task gone sleeps again, so there may be more of them than tasks, not fewer.
        self._wakes: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._running: list[Task | None] = [None] * threads
        self.waits = [Durations() for _ in range(threads)]
        """How long tasks waited, by the thread that took them."""
        self.refused = 0
        """How many tasks were refused because the queue was full."""
        self.shed = 0
        """How many tasks were shed because they waited too long."""
        self._workers: list[threading.Thread] = []
        self._stopped = False

    @property
    def busy(self) -> int:
        """How many threads are running a task."""
        return self.threads - self._running.count(None)

    @property
    def queued(self) -> int:
        """How many tasks wait for a thread."""
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self.queued and not self.busy

    def running_since_before(self, age_s: float) -> list[tuple[threading.Thread, Task]]:
        """Return the tasks that have run for longer than `age_s`, each with its thread."""
        limit = time.monotonic() - age_s
        return [
            (thread, task)
            for thread, task in zip(self._workers, list(self._running), strict=False)
            if task is not None and task.started_at < limit
        ]

    def submit(self, task: Task) -> None:
        """Have a thread run `task`; raises `PoolFull`, then or after `stop()`."""
        if self._stopped or len(self._waiting) >= self.queue_limit:
            self.refused += 1
            raise PoolFull(f"{self.queue_limit} requests are waiting already")
        if not self._workers:
            self._start()
        task.queued_at = time.monotonic()
        self._waiting.append(task)
        self._wakes.put(True)

    def shed_older_than(self, age_s: float) -> int:
        """Shed the tasks that have waited longer than `age_s`; returns how many."""
        limit = time.monotonic() - age_s
        shed = 0
        while (task := self._take_older_than(limit)) is not None:
            if task.claim():
                shed += 1
                self.shed += 1
                task.shed()
        return shed

    def _take_older_than(self, limit: float) -> Task | None:
        """Return the first task that waits, out of the queue, if it is old or claimed already."""
        waiting = self._waiting
        try:
            if not _over(waiting[0], limit):
                return None
            task = waiting.popleft()
        except IndexError:
            return None
        if not _over(task, limit):
            # A thread has just taken the old one; this is the next. Its wake may be spent.
            waiting.appendleft(task)
            self._wakes.put(True)
            return None
        if not self._stopped:
            with contextlib.suppress(queue.Empty):
                self._wakes.get_nowait()
        return task

    def running_longer_than(self, age_s: float) -> list[tuple[threading.Thread, Task]]:
        """Return the tasks that have run for longer than `age_s`, with their threads."""
        limit = time.monotonic() - age_s
        found = zip(self._workers, list(self._running), strict=False)
        return [
            (thread, task) for thread, task in found if task is not None and task.started_at < limit
        ]

    def stop(self) -> None:
        """End the threads once they have done what waits; does not wait for them."""
        self._stopped = True
        for _ in self._workers:
            self._wakes.put(False)

    def _start(self) -> None:
        for number in range(self.threads):
            worker = threading.Thread(
                target=self._work, args=(number,), name=f"{self.name}-{number}", daemon=True
            )
            try:
                worker.start()
            except RuntimeError:
                started = len(self._workers)
                log.exception("only %d of %d threads could be started", started, self.threads)
                break
            self._workers.append(worker)
        if not self._workers:
            raise PoolFull("no thread could be started")

    def _work(self, number: int) -> None:
        running = self._running
        waiting = self._waiting
        waits = self.waits[number]
        awake = self._wakes.get
        while awake():
            try:
                task = waiting.popleft()
            except IndexError:
                continue
            if not task.claim():
                continue
            task.started_at = time.monotonic()
            waits.add(task.started_at - task.queued_at)
            running[number] = task
            try:
                contextvars.Context().run(task.run)
            except BaseException:
                log.exception("a task of %s failed", threading.current_thread().name)
            finally:
                running[number] = None
                del task


def _over(task: Task, limit: float) -> bool:
    """Return whether a task waits since before `limit`, or somebody has claimed it."""
    return task.claimed or task.queued_at < limit
