"""An eye on the threads: requests past their deadline, slow ones, and those nobody waits for.

A thread cannot be stopped. What can be done is to answer in its place, to say where it is, and
to count it as stuck, so that the worker is replaced before all of its threads are.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable

from flasknado.pool import Pool
from flasknado.stacks import log_stack
from flasknado.wsgi.run import Run

log = logging.getLogger("flasknado.error")


class Watch:
    """Looks at the threads of a pool about twice a second. Belongs to the loop's thread.

    request_timeout_s: how long a request may run before its client is answered 504.
    slow_request_s: how long before the log says where it is, once.
    abandoned_after_s: how long a request may run on after its client has gone, before its
        thread counts as stuck, and the log says where it is, once.
    Each is `None` forever.
    cancel_call: cancels the coroutine that a thread, by its identifier, waits for; with a reason.
    """

    def __init__(
        self,
        pool: Pool,
        request_timeout_s: float | None,
        slow_request_s: float | None,
        abandoned_after_s: float | None,
        cancel_call: Callable[[int, str], None],
    ) -> None:
        self._pool = pool
        self._cancel_call = cancel_call
        self.request_timeout_s = request_timeout_s
        self.slow_request_s = slow_request_s
        self.abandoned_after_s = abandoned_after_s
        self._slow: set[Run] = set()
        self._gone_at: dict[Run, float] = {}
        """When it was seen first that the client of a request has gone, in `time.monotonic`."""
        self._abandoned: frozenset[Run] = frozenset()

    @property
    def needed(self) -> bool:
        """Whether there is anything to look for while requests run."""
        return (
            self.request_timeout_s is not None
            or self.slow_request_s is not None
            or self.abandoned_after_s is not None
        )

    @property
    def stuck(self) -> int:
        """How many threads run a request that was answered 504, or was abandoned. Any thread.

        Without the abandoned ones that were set aside: those are no threads of the pool's.
        """
        abandoned = self._abandoned
        in_pool = self._pool.running_longer_than(0.0)
        timed_out = sum(
            isinstance(task, Run) and task.timed_out for _, task in self._pool.all_running()
        )
        return timed_out + sum(
            isinstance(task, Run) and not task.timed_out and task in abandoned
            for _, task in in_pool
        )

    @property
    def abandoned(self) -> frozenset[Run]:
        """The requests that run on although their client left long ago. Any thread."""
        return self._abandoned

    def look(self) -> None:
        """Answer 504 where it is due, and log what hangs."""
        now = time.monotonic()
        running = [
            (thread, task) for thread, task in self._pool.all_running() if isinstance(task, Run)
        ]
        timeout_s, slow_s = self.request_timeout_s, self.slow_request_s
        for thread, task in running:
            ran_s = now - task.started_at
            if timeout_s is not None and ran_s > timeout_s and task.time_out():
                _say(thread, task, ran_s, "its client was answered 504")
                self._cancel_call(
                    thread.ident or 0, f"its request took longer than {timeout_s:g} s"
                )
            if slow_s is not None and ran_s > slow_s and task not in self._slow:
                self._slow.add(task)
                _say(thread, task, ran_s, "which is slow", logging.WARNING)
        self._look_for_abandoned(running, now)
        tasks = {task for _, task in running}
        self._slow &= tasks
        self._abandoned &= tasks
        self._gone_at = {task: at for task, at in self._gone_at.items() if task in tasks}

    def _look_for_abandoned(self, running: list[tuple[threading.Thread, Run]], now: float) -> None:
        after_s = self.abandoned_after_s
        if after_s is None:
            return
        for thread, task in running:
            if not task.reply.gone or task in self._abandoned:
                continue
            if now - self._gone_at.setdefault(task, now) >= after_s:
                self._abandoned |= {task}
                ran_s = now - task.started_at
                _say(thread, task, ran_s, f"its client left {after_s:g} s ago")
                self._cancel_call(thread.ident or 0, f"its client left {after_s:g} s ago")


def _say(
    thread: threading.Thread, task: Run, ran_s: float, why: str, level: int = logging.ERROR
) -> None:
    """Log where a thread is."""
    frame = sys._current_frames().get(thread.ident or 0)
    stack = "".join(traceback.format_stack(frame)) if frame is not None else "(it has ended)"
    head = task.request
    log_stack(
        log,
        stack,
        "%s has run %s %s (route %s) [%s] for %.1f s; %s; it is here:",
        thread.name,
        head.method,
        ascii(head.path)[1:-1],
        task.route or "-",
        head.request_id,
        ran_s,
        why,
        level=level,
        request_id=head.request_id,
    )
