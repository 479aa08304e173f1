"""The end of a worker: Python's own shutdown, within what is left of the grace.

Python waits for threads and executors, and runs `atexit` functions: a last batch of telemetry
is sent, buffered log lines are written, process pools end their children. Any of these may
hang, so a watchdog ends the process in time, and says what held it up.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OURS = "flasknado-watchdog"


def leave(status: int) -> None:
    """End the process without waiting for its threads; what was written is flushed."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
    os._exit(status)


def end_within(seconds: float, log: Any) -> None:
    """Let Python end this process; in `seconds` at the latest, and then say what held it up.

    log: a logger, told once if the time is over. Call it on the main thread, then return.
    """
    watchdog = threading.Thread(target=_watch, args=(seconds, log), name=OURS, daemon=True)
    watchdog.start()


def _watch(seconds: float, log: Any) -> None:
    threading.Event().wait(seconds)
    log.warning(
        "this process did not exit within the remaining %.1f s and is terminated; "
        "what held it up:\n%s",
        seconds,
        "".join(holders()) or "  (unknown)\n",
    )
    for child in _pool_children():
        child.terminate()
    leave(0)


def holders() -> Iterator[str]:
    """Yield a few lines for each thread and child that a process waits for when it ends."""
    frames = sys._current_frames()
    for thread in threading.enumerate():
        if thread.name == OURS or (thread.daemon and thread is not threading.main_thread()):
            continue
        frame = frames.get(thread.ident or 0)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        if thread is not threading.main_thread():
            yield f"thread {thread.name}:\n{stack}"
        elif "_shutdown" not in stack:  # else it only waits for the others
            yield f"main thread:\n{stack}"
    for pid in _child_pids():
        yield f"child process {pid}: {_command(pid)}\n"


def _pool_children() -> list[Any]:
    """Return the children that `multiprocessing` knows of."""
    multiprocessing = sys.modules.get("multiprocessing")
    return multiprocessing.active_children() if multiprocessing is not None else []


def _child_pids() -> list[int]:
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        return [child.pid for child in _pool_children()]
    pids: list[int] = []
    for task in tasks.iterdir():
        try:
            pids += map(int, (task / "children").read_text().split())
        except OSError:  # a thread that has ended, or a kernel without this file
            continue
    return pids


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "(ended)"
    return b" ".join(words).decode(errors="replace").strip()[:200]
