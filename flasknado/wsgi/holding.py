"""Which tasks hold their thread for long, and are set aside so that the pool makes up for it.

Two kinds are: a response that has begun and waits, for what makes it or for its client; and a
view that waits for another thread of this process, such as a long poll for the message that
another request will bring. What computes is not, nor what waits for a database or another
server: more threads would only move the queue there.

Python does not say whether a thread waits. One that does uses little of the processor, and does
not wait for it; and one that waits for the interpreter wakes at every switch interval. The
system counts all three.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from flasknado.pool import Pool, PoolThread, Task
from flasknado.wsgi.pacing import processor_seconds
from flasknado.wsgi.run import Run
from flasknado.wsgi.streams import Streams

YOUNG_S = 0.02
"""Streams that have run for less stay: most have ended by then."""

LASTING_S = 1.0
"""Streams that have run for longer are set aside although no request waits for their thread."""

LONG_POLL_S = 0.25
"""Views that have run for less, and begun no response, stay."""

WINDOW_S = 0.03
"""How long a thread is watched at least before it is said to wait."""

WAITING_SHARE = 0.35
"""The share of the time in which a thread that waits may use the processor, or want it."""

CONTENDING_SHARE = 0.5
"""The share of the time in which a thread may wait for the interpreter."""

KEPT_FREE = 4
"""How many threads are kept free while others may be set aside; in a small pool a quarter."""

WAITS_IN = frozenset((threading.Condition.wait.__code__.co_filename,))
"""Where threads wait for each other: `Condition`, `Event`, `Queue`, `Future` end here."""

RESOURCE_POOLS = ("sqlalchemy.", "psycopg_pool.")
"""Modules whose waiting is for what a running request gives back: more would only wait as well."""


class _Use(NamedTuple):
    """What a thread had used when it was looked at."""

    task: Task
    at: float
    wanted_s: float
    """For how long it has used a processor, or waited for one."""
    switches: int
    runs: bool
    """Whether it ran just then, or waited for a processor: that is counted only when it is over."""


class Holding:
    """Sets tasks of a pool aside; belongs to the loop's thread."""

    def __init__(self, pool: Pool, streams: Streams) -> None:
        self._pool = pool
        self._streams = streams
        self._seen: dict[PoolThread, _Use] = {}

    def look(self) -> list[threading.Thread]:
        """Set aside what holds its thread, as far as need be; returns those threads."""
        pool = self._pool
        if not self._streams.limit:
            return []
        now = time.monotonic()
        kept_free = max(1, min(KEPT_FREE, pool.threads // 4))
        short = pool.queued + kept_free - (pool.threads - pool.busy)
        gone: list[threading.Thread] = []
        seen, self._seen = self._seen, {}
        frames: dict[int, FrameType] | None = None
        for worker in list(pool.workers):
            task, thread = worker.task, worker.thread
            if not isinstance(task, Run) or thread is None or task.timed_out:
                continue
            ran_s = now - task.started_at
            if task.streaming:
                if ran_s < (YOUNG_S if short > 0 else LASTING_S):
                    continue
            else:
                if short <= 0 or ran_s < LONG_POLL_S:
                    continue
                if frames is None:
                    frames = sys._current_frames()
                if not waits_for_thread(frames.get(thread.ident or 0)):
                    continue
            use = _use_of(task, thread, now)
            before = seen.get(worker)
            if before is None or before.task is not task:
                self._seen[worker] = use
            elif now - before.at < WINDOW_S:
                self._seen[worker] = before
            elif not _waited(before, use) or not self._streams.may_hold(task):
                self._seen[worker] = use
            elif pool.set_aside(worker, task):
                gone.append(thread)
                short -= 1
        return gone


def waits_for_thread(frame: FrameType | None) -> bool:
    """Return whether a thread waits for another one of this process, by its innermost frame."""
    if frame is None or frame.f_code.co_filename not in WAITS_IN:
        return False
    while frame is not None and frame.f_code.co_filename in WAITS_IN:
        frame = frame.f_back
    name = str(frame.f_globals.get("__name__", "")) if frame is not None else ""
    return not name.startswith(RESOURCE_POOLS)


def _waited(before: _Use, now: _Use) -> bool:
    if before.runs or now.runs:
        return False
    window_s = now.at - before.at
    share = (now.wanted_s - before.wanted_s) / window_s
    contending = (now.switches - before.switches) * sys.getswitchinterval() / window_s
    return share < WAITING_SHARE and contending < CONTENDING_SHARE


def _use_of(task: Task, thread: threading.Thread, now: float) -> _Use:
    """Return what a thread has used so far; nothing where the system does not tell (proc(5))."""
    folder = Path(f"/proc/self/task/{thread.native_id}")
    wanted_s, switches, runs = 0.0, 0, False
    try:
        used_ns, waited_ns, _ = (folder / "schedstat").read_text().split()
        wanted_s = (int(used_ns) + int(waited_ns)) / 1e9
    except (OSError, ValueError):
        wanted_s = processor_seconds(thread)
    try:
        status = (folder / "status").read_text()
        switches = int(status.rpartition("\nvoluntary_ctxt_switches:")[2].split()[0])
        runs = "\nState:\tR" in status
    except (OSError, ValueError, IndexError):
        pass
    return _Use(task, now, wanted_s, switches, runs)
