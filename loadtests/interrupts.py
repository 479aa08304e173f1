"""Ctrl-C, TERM and HUP become one exception, so that `finally` leaves nothing behind."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal asked for the end; raised on the main thread."""


class _State:
    holding = 0
    pending = False
    raised = False


_state = _State()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Interrupted` for the first signal inside the block; later ones cannot stop the mend.

    Main thread only.
    """
    previous = {number: signal.signal(number, _on_signal) for number in SIGNALS}
    _state.holding, _state.pending, _state.raised = 0, False, False
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Keep `Interrupted` back until the block ends: what it starts is then known to somebody."""
    _state.holding += 1
    try:
        yield
    finally:
        _state.holding -= 1
        if _state.pending and not _state.holding:
            _raise()


def _on_signal(_number: int, _frame: FrameType | None) -> None:
    if _state.raised:
        return
    if _state.holding:
        _state.pending = True
    else:
        _raise()


def _raise() -> None:
    _state.pending, _state.raised = False, True
    raise Interrupted
