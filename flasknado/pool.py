"""The threads that run the application, and the bounded queue before them.

A task is run by one thread, in one `contextvars.Context`, from beginning to end. A task
that waits too long is shed: its client is told so and no thread runs it. A task that would
hold its thread for long may be set aside: its thread goes on with it outside the pool, which
starts another in its place, and ends after it.
"""

from __future__ import annotations

import contextvars
import logging
import os
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import Final

from mypy_extensions import mypyc_attr

from flasknado.durations import Durations
from flasknado.errors import FlasknadoError

_now: Final = time.monotonic
_Context: Final = contextvars.Context
_getpid: Final = os.getpid
_exit: Final = os._exit
log: Final = logging.getLogger("flasknado.error")

START_AGAIN_S: Final = 1.0
"""How long to wait before threads that could not be started are tried again."""


class PoolFull(FlasknadoError):
    """As many tasks wait as may wait; try again later."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Task(ABC):
    """Something for a pool thread to do."""

    __slots__ = ("queued_at", "started_at")

    def __init__(self) -> None:
        self.started_at = 0.0
        """When a thread began to run it, on the same clock; 0 while it waits."""
        self.queued_at = 0.0
        """When it began to wait, in seconds of `time.monotonic`."""

    @abstractmethod
    def run(self) -> None:
        """Do it; called on a pool thread, in a context of its own."""

    @abstractmethod
    def shed(self) -> None:
        """Say that it will not be done; called on the loop's thread, must not block."""


class PoolThread:
    """One thread of a pool and what it runs; may be read on any thread."""

    __slots__ = ("aside", "number", "task", "thread")

    def __init__(self, number: int) -> None:
        self.number = number
        self.task: Task | None = None
        self.aside = False
        """Whether its task has been set aside; guarded by the pool's lock."""
        self.thread: threading.Thread | None = None


class Pool:
    """A number of named threads behind a bounded queue.

    `threads` start at the first `submit()` (so after a fork); those that cannot be started
    then, because the process may have no more, are tried again later. At most `queue_limit`
    tasks wait; one more raises `PoolFull`. At most `running_limit` run at once, all threads at
    first (`flasknado.wsgi.pacing` lowers it while they compute). Tasks that were set aside are
    counted in neither. `submit`, `withdraw`, `grow`, `shrink`, `set_aside` and
    `shed_older_than` belong to one thread, the loop's; the gauges may be read on any.
    """

    def __init__(self, threads: int, queue_limit: int, name: str = "flasknado-wsgi") -> None:
        self.threads = threads
        self.queue_limit = queue_limit
        self.name = name
        self.waits = [Durations() for _ in range(threads)]
        """How long tasks waited, by the thread that took them."""
        self.refused = 0
        """How many tasks were refused because the queue was full."""
        self.shed = 0
        """How many tasks were shed because they waited too long."""
        self._lock = threading.Lock()
        """Guards `_awake`, `_running_limit` and `_aside`, and the taking of what waits.

        Adding to `_waiting` needs no lock: whoever adds looks after the threads afterwards.
        """
        self._waiting: deque[Task] = deque()
        self._awake = 0
        """How many threads run tasks, one after the other, or have been woken to."""
        self._running_limit = threads
        self._wakes: queue.SimpleQueue[bool] = queue.SimpleQueue()
        """A True wakes a thread; a False ends one."""
        self._workers: list[PoolThread] = []
        self._aside: set[PoolThread] = set()
        """The threads whose task was set aside and has not ended."""
        self._asides = 0
        """How many tasks have been set aside so far."""
        self._missing = threads
        """How many threads have not been started."""
        self._start_at = 0.0
        """When to try that again, in seconds of `time.monotonic`."""
        self._ended: deque[int] = deque()
        """The numbers of threads that were sent away by `shrink()`."""
        self._stopped = False

    @property
    def busy(self) -> int:
        """How many threads are running a task; those aside are not of the pool."""
        busy = 0
        for worker in self._workers:
            if worker.task is not None:
                busy += 1
        return busy

    @property
    def queued(self) -> int:
        """How many tasks wait for a thread."""
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and no thread is awake, nor aside."""
        return not self._waiting and not self._awake and not self._aside

    @property
    def running_limit(self) -> int:
        """How many tasks may run at once: from 1 to `threads`."""
        return self._running_limit

    @running_limit.setter
    def running_limit(self, limit: int) -> None:
        with self._lock:
            self._running_limit = max(1, min(limit, self.threads))
        self.wake()

    @property
    def workers(self) -> list[PoolThread]:
        """The threads, once they have been started, without those aside. To be read only."""
        return self._workers

    @property
    def aside(self) -> list[PoolThread]:
        """The threads whose task has been set aside."""
        with self._lock:
            return list(self._aside)

    def running_longer_than(self, age_s: float) -> list[tuple[threading.Thread, Task]]:
        """Return the tasks that have run for longer than `age_s`, each with its thread.

        Without those that were set aside.
        """
        limit = _now() - age_s
        return _tasks_before(limit, self._workers)

    def all_running(self) -> list[tuple[threading.Thread, Task]]:
        """Return all tasks that run, each with its thread, those that were set aside as well."""
        return _tasks_before(_now(), [*self._workers, *self.aside])

    def set_aside(self, worker: PoolThread, task: Task) -> bool:
        """Have another thread take a thread's place, which ends once it has done its task.

        False if it does not run that task any more, or no thread can be started.
        """
        if self._stopped or self._missing or worker.task is not task:
            return False
        number = worker.number
        other = PoolThread(number)
        with self._lock:  # while the other starts, too: the task might end meanwhile
            if worker.aside or worker.task is not task or not self._start_thread(other):
                return False
            worker.aside = True
            self._aside.add(worker)
            self._awake -= 1
        self._workers[number] = other
        self._asides += 1
        if worker.thread is not None:
            worker.thread.name = f"{self.name}-aside-{self._asides}"
        self.wake()
        return True

    def submit(self, task: Task, *, wake: bool = True) -> None:
        """Have a thread run `task`; raises `PoolFull`, then or after `stop()`.

        Who has several to submit says `wake=False` and calls `wake()` after the last: a thread
        that wakes before takes the interpreter from the one that submits.
        """
        if self._stopped or len(self._waiting) >= self.queue_limit:
            self.refused += 1
            raise PoolFull(f"{self.queue_limit} requests are waiting already")
        if self._missing:
            self._start()
        task.queued_at = _now()
        self._waiting.append(task)
        if wake:
            self.wake()

    def wake(self, at_once: int | None = None, patience_s: float = 0.0) -> bool:
        """Wake threads for the tasks that wait, as many as may run at once.

        With `at_once` no further thread is woken while so many are awake whose task, if any,
        has run for less than `patience_s`. Returns whether one was left asleep for that
        reason: then call it again after `patience_s`.
        """
        with self._lock:
            wanted = min(len(self._waiting), self._running_limit - self._awake)
            more = wanted
            if at_once is not None and wanted > 0 and self._awake + wanted > at_once:
                fresh = self._awake - len(self.running_longer_than(patience_s))
                more = max(0, min(wanted, at_once - fresh))
            if more > 0:
                self._awake += more
        for _ in range(more):
            self._wakes.put(True)
        return more < wanted

    def shed_older_than(self, age_s: float) -> int:
        """Shed the tasks that have waited longer than `age_s`; returns how many."""
        limit = _now() - age_s
        old: list[Task] = []
        waiting = self._waiting
        with self._lock:
            while waiting and waiting[0].queued_at < limit:
                old.append(waiting.popleft())
        for task in old:
            task.shed()
        self.shed += len(old)
        return len(old)

    def withdraw(self, task: Task) -> bool:
        """Take back a task that nobody waits for; returns whether no thread has begun it."""
        with self._lock:
            try:
                self._waiting.remove(task)
            except ValueError:
                return False
        return True

    def grow(self) -> bool:
        """Start one more thread, beside one that hangs; returns whether that worked."""
        if self._missing:
            return False  # there are none to be had
        if self._ended:
            number = self._ended[0]
        else:
            number = len(self._workers)
            if number == len(self.waits):
                self.waits.append(Durations())
        worker = PoolThread(number)
        if not self._start_thread(worker):
            return False
        if number < len(self._workers):
            self._workers[number] = worker
            self._ended.popleft()
        else:
            self._workers.append(worker)
        self.threads += 1
        self.running_limit = self._running_limit + 1
        return True

    def shrink(self) -> None:
        """End one thread, once one has nothing to do."""
        self.threads -= 1
        self.running_limit = self._running_limit - 1
        self._wakes.put(False)

    def stop(self) -> None:
        """End the threads once they have done what waits; does not wait for them."""
        self._stopped = True
        self.running_limit = self.threads
        for _ in self._workers:
            self._wakes.put(False)

    def _start(self) -> None:
        """Start the threads that are missing, unless that has just failed."""
        now = _now()
        late = bool(self._workers)
        if late and now < self._start_at:
            return
        self._start_at = now + START_AGAIN_S
        wanted = len(self._workers) + self._missing
        while self._missing:
            worker = PoolThread(len(self._workers))
            if not self._start_thread(worker):
                break
            self._workers.append(worker)
            self._missing -= 1
            if late:
                self._running_limit += 1
        if self._missing and not late:
            log.error("only %d of %d threads could be started", len(self._workers), wanted)
        elif late and not self._missing:
            log.warning("all %d threads have now been started", wanted)
        if not self._workers:
            raise PoolFull("no thread could be started")
        self._running_limit = min(self._running_limit, len(self._workers))

    def _start_thread(self, worker: PoolThread) -> bool:
        """Start a thread; returns whether the process may have one more."""
        worker.thread = threading.Thread(
            target=self._work, args=(worker,), name=f"{self.name}-{worker.number}", daemon=True
        )
        try:
            worker.thread.start()
        except RuntimeError:
            return False
        return True

    def _work(self, worker: PoolThread) -> None:
        waits = self.waits[worker.number]
        process = _getpid()
        while self._wakes.get():
            while (task := self._next(worker)) is not None:
                task.started_at = _now()
                waits.add(task.started_at - task.queued_at)
                worker.task = task
                try:
                    _Context().run(task.run)
                except BaseException:
                    log.exception("a task of %s failed", threading.current_thread().name)
                finally:
                    worker.task = None
                    del task
                if _getpid() != process:
                    # Nobody will ever give this copy of the thread another task.
                    log.error(
                        "a task forked a process that returned from it: end the process in the task"
                    )
                    _exit(1)
            if worker.aside:
                return
        self._ended.append(worker.number)

    def _next(self, worker: PoolThread) -> Task | None:
        """Return the next task of a thread that is awake, or `None`: it is not awake any more."""
        waiting = self._waiting
        with self._lock:
            if worker.aside:
                self._aside.discard(worker)
                return None
            if self._awake <= self._running_limit and waiting:
                return waiting.popleft()
            self._awake -= 1
            return None


def _tasks_before(limit: float, workers: list[PoolThread]) -> list[tuple[threading.Thread, Task]]:
    """Return the tasks that threads began before a time of `time.monotonic`."""
    found: list[tuple[threading.Thread, Task]] = []
    for worker in workers:
        task = worker.task
        if task is not None and task.started_at < limit and worker.thread is not None:
            found.append((worker.thread, task))
    return found
