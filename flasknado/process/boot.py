"""Watching an application boot: the log says where one hangs.

A module that serves by itself while it is imported (`app.run()` left at its end) is named.
"""

from __future__ import annotations

import _thread
import contextlib
import itertools
import logging
import sys
import traceback
from collections.abc import Iterator
from types import FrameType

from flasknado.stacks import log_stack

PATIENCE_S = 10.0
"""How long a boot may take before it is told."""

SERVERS = frozenset(
    {
        ("flask.app", "run"),
        ("flask_socketio", "run"),
        ("flasknado.socketio.extension", "run"),
        ("werkzeug.serving", "run_simple"),
        ("werkzeug.serving", "serve_forever"),
        ("socketserver", "serve_forever"),
        ("waitress", "serve"),
        ("tornado.platform.asyncio", "start"),
        ("gevent.baseserver", "serve_forever"),
    }
)
"""Functions, by their modules, that serve and do not return."""

log = logging.getLogger("flasknado.error")


@contextlib.contextmanager
def watched_boot() -> Iterator[None]:
    """Log once where the calling thread is if the block does not end in `PATIENCE_S`."""
    over = _thread.allocate_lock()
    over.acquire()
    # Below `threading`, which an application may replace while its own threads run.
    _thread.start_new_thread(_watch, (over, _thread.get_ident()))
    try:
        yield
    finally:
        over.release()


def _watch(over: _thread.LockType, thread_id: int) -> None:
    if over.acquire(timeout=PATIENCE_S):
        return
    frame = sys._current_frames().get(thread_id)
    if frame is None:
        return
    stack = "".join(traceback.format_stack(frame)[_frames_of_ours(frame) :])
    call = serving_call(frame)
    if call is not None:
        log_stack(
            log,
            stack,
            "%s, line %s, serves by itself while it is imported (%s), and so nothing is served "
            "here: remove the call, or put it below if __name__ == '__main__'",
            call.filename,
            call.lineno,
            call.line,
        )
    else:
        log_stack(log, stack, "the application still boots after %s s; it is here:", PATIENCE_S)


def serving_call(frame: FrameType) -> traceback.FrameSummary | None:
    """Return the line on a stack that calls a server which does not return, if there is one."""
    for caller, called in itertools.pairwise(_outermost_first(frame)):
        if (_module(called), called.f_code.co_name) in SERVERS:
            return traceback.StackSummary.extract([(caller, caller.f_lineno)])[0]
    return None


def _frames_of_ours(frame: FrameType) -> int:
    """Return how many frames there are until that of the application."""
    names = [_module(each) for each in _outermost_first(frame)]
    ours = [number for number, name in enumerate(names, 1) if name.startswith("flasknado.process.")]
    count = ours[-1] if ours else 0
    while count < len(names) and names[count].startswith("importlib"):
        count += 1
    return count


def _outermost_first(frame: FrameType) -> list[FrameType]:
    return [each for each, _ in traceback.walk_stack(frame)][::-1]


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))
