"""Lanes: small pools of threads for what native handlers have the application do.

Each kind of call has a lane of its own, so that a storm of one kind does not starve another. A
call that hangs does not shut out those behind it: another thread takes its place, within a
bound, and the log says once where the call is. Everything here belongs to the loop's thread.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from flasknado.pool import Pool, Task

log = logging.getLogger("flasknado.error")

HANGS_AFTER_S = 1.0
"""After how long another thread takes the place of one that has not come back."""
REPLACED_FACTOR = 4
"""How many threads may hang with another in their place, for each thread of the lane."""
LOOK_INTERVAL_S = 0.25


class LaneSettings(NamedTuple):
    """What a lane is like; the threads are named after it."""

    name: str
    threads: int
    queue_limit: int


class Call(Task):
    """One function to run on a lane; `what` it is for is named if it hangs."""

    __slots__ = ("_function", "_loop", "future", "what")

    def __init__(self, what: str, function: Callable[[], Any]) -> None:
        super().__init__()
        self.what = what
        self._function = function
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self._loop.create_future()

    def run(self) -> None:
        try:
            self.answer(self._function(), None)
        except Exception as error:
            self.answer(None, error)

    def answer(self, result: Any, error: Exception | None) -> None:
        """Settle the future, from the thread that ran it."""
        try:
            self._loop.call_soon_threadsafe(self._settle, result, error)
        except RuntimeError:
            log.debug("the loop closed before a call was answered: %s", self.what)

    def shed(self) -> None:
        """Never called: whoever waits for a call withdraws it."""

    def _settle(self, result: Any, error: Exception | None) -> None:
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class Lane:
    """The threads of one lane on one loop."""

    def __init__(self, settings: LaneSettings) -> None:
        self.settings = settings
        self._pool = Pool(settings.threads, settings.queue_limit, name=f"flasknado-{settings.name}")
        self._hanging: dict[Task, bool] = {}
        """The calls that hang, and whether another thread has taken their place."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def hanging(self) -> int:
        """How many calls hang."""
        return len(self._hanging)

    def start(self, task: Task) -> None:
        """Have a task run, however long it takes; raises `PoolFull` if too many wait."""
        self._pool.submit(task)
        if self._timer is None:
            self._look_later()

    async def run(self, call: Call, timeout_s: float) -> Any:
        """Return what the call returns, or raise what it raises.

        Raises `PoolFull` if too many wait, and `TimeoutError` after `timeout_s`, the time in
        the queue included.
        """
        self.start(call)
        try:
            return await asyncio.wait_for(call.future, timeout_s)
        except TimeoutError:
            self._pool.withdraw(call)
            raise

    def stop(self) -> None:
        """End the threads once they have done what waits."""
        if self._timer is not None:
            self._timer.cancel()
        self._pool.stop()

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_INTERVAL_S, self._look)

    def _look(self) -> None:
        pool = self._pool
        running = {task: thread for thread, task in pool.running_longer_than(HANGS_AFTER_S)}
        for task in [task for task in self._hanging if task not in running]:
            if self._hanging.pop(task):
                pool.shrink()
        for task, thread in running.items():
            if task not in self._hanging:
                self._hanging[task] = False
                _log_hanging(task, thread)
            if not self._hanging[task]:
                replaced = sum(self._hanging.values())
                if replaced < REPLACED_FACTOR * self.settings.threads:
                    self._hanging[task] = pool.grow()
        # With nothing to watch the timer rests until the next call.
        if pool.busy or pool.queued or self._hanging:
            self._look_later()
        else:
            self._timer = None


def _log_hanging(task: Task, thread: threading.Thread) -> None:
    frame = sys._current_frames().get(thread.ident or 0)
    stack = "".join(traceback.format_stack(frame)) if frame is not None else "  (it has ended)\n"
    log.error(
        "%s has been running %s for %.1f s; another thread replaces it; its stack:\n%s",
        thread.name,
        getattr(task, "what", task),
        time.monotonic() - task.started_at,
        stack,
    )


_lanes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[LaneSettings, Lane]]
_lanes = weakref.WeakKeyDictionary()


def lane_of(settings: LaneSettings, http_server: Any) -> Lane:
    """Return a lane of the running loop, made when first needed; it ends with the server."""
    loop = asyncio.get_running_loop()
    lanes = _lanes.get(loop)
    if lanes is None:
        lanes = _lanes[loop] = {}
        add_close_callback = getattr(http_server, "add_close_callback", None)
        if add_close_callback is not None:
            add_close_callback(functools.partial(_stop_lanes, loop))
    lane = lanes.get(settings)
    if lane is None:
        lane = lanes[settings] = Lane(settings)
    return lane


def _stop_lanes(loop: asyncio.AbstractEventLoop) -> None:
    for lane in _lanes.pop(loop, {}).values():
        lane.stop()
