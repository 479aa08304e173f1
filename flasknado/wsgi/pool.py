"""The threads that run the application, and the bounded queue before them.

A task is run by one thread, in one `contextvars.Context`, from beginning to end. A task
that waits too long is shed: its client is told so and no thread runs it.
"""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import deque

from flasknado.errors import FlasknadoError

log = logging.getLogger("flasknado.error")


class PoolFull(FlasknadoError):
    """As many tasks wait as may wait; try again later."""


class Task(ABC):
    """Something for a pool thread to do, claimed by exactly one: a thread, or the shedder."""

    __slots__ = ("_claim", "queued_at")

    def __init__(self) -> None:
        self._claim = [True]
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
        self._queue: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._waiting: deque[Task] = deque()
        self._running: list[Task | None] = [None] * threads
        self._workers: list[threading.Thread] = []
        self._stopped = False

    @property
    def busy(self) -> int:
        """How many threads are running a task."""
        return self.threads - self._running.count(None)

    @property
    def queued(self) -> int:
        """How many tasks wait for a thread."""
        return self._queue.qsize()

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self.queued and not self.busy

    def submit(self, task: Task) -> None:
        """Have a thread run `task`; raises `PoolFull`, then or after `stop()`."""
        if not self._workers:
            self._start()
        if self._stopped or self._queue.qsize() >= self.queue_limit:
            raise PoolFull(f"{self.queue_limit} requests are waiting already")
        task.queued_at = time.monotonic()
        waiting = self._waiting
        while waiting and waiting[0].claimed:
            waiting.popleft()
        waiting.append(task)
        self._queue.put(task)

    def shed_older_than(self, age_s: float) -> int:
        """Shed the tasks that have waited longer than `age_s`; returns how many."""
        limit = time.monotonic() - age_s
        waiting = self._waiting
        shed = 0
        while waiting and (waiting[0].claimed or waiting[0].queued_at < limit):
            task = waiting.popleft()
            if task.claim():
                shed += 1
                task.shed()
        return shed

    def stop(self) -> None:
        """End the threads once they have done what waits; does not wait for them."""
        self._stopped = True
        for _ in self._workers:
            self._queue.put(None)

    def _start(self) -> None:
        for number in range(self.threads):
            worker = threading.Thread(
                target=self._work, args=(number,), name=f"{self.name}-{number}", daemon=True
            )
            self._workers.append(worker)
            worker.start()

    def _work(self, number: int) -> None:
        running = self._running
        get = self._queue.get
        while True:
            task = get()
            if task is None:
                return
            if not task.claim():
                continue
            running[number] = task
            try:
                contextvars.Context().run(task.run)
            except BaseException:
                log.exception("a task of %s failed", threading.current_thread().name)
            finally:
                running[number] = None
                task = None
