"""Signals of gunicorn 23's arbiter, received as those of 24 are: queued, and handled in turn.

gunicorn 23 keeps five signals, reaps its workers in the middle of whatever it is doing when
SIGCHLD arrives, and cannot be asked to wait for a shorter time.
"""

from __future__ import annotations

import queue
import signal
from types import FrameType
from typing import TYPE_CHECKING, Any

from gunicorn.arbiter import Arbiter as GunicornArbiter


class QueueingArbiter(GunicornArbiter):
    """gunicorn 23's arbiter, with the queue of signals that 24 has."""

    def __init__(self, app: Any) -> None:
        self.SIG_QUEUE: Any = []  # of each arbiter, not of the class
        self._received: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        super().__init__(app)

    def init_signals(self) -> None:
        super().init_signals()
        signal.signal(signal.SIGCHLD, self.signal)

    def signal(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 (a handler's)
        """Keep a signal; called between any two instructions of the main thread."""
        self._received.put_nowait(sig)

    def wakeup(self) -> None:
        """Have `wait_for_signals` return."""
        self._received.put_nowait(None)

    def wait_for_signals(self, timeout: float | None = 1.0) -> list[int]:
        """Return the signals that have been received, the first of them within `timeout` s."""
        received: list[int | None] = []
        try:
            received.append(self._received.get(timeout=timeout))
            while True:
                received.append(self._received.get_nowait())
        except queue.Empty:
            pass
        return [sig for sig in received if sig is not None]

    def sleep(self) -> None:
        """Wait for signals; gunicorn's loop takes them from its list, but for SIGCHLD."""
        for sig in self.wait_for_signals(timeout=1.0):
            if sig == signal.SIGCHLD:
                self.reap_workers()
            else:
                self.SIG_QUEUE.append(sig)


if TYPE_CHECKING or hasattr(GunicornArbiter, "wait_for_signals"):
    BaseArbiter = GunicornArbiter
else:
    BaseArbiter = QueueingArbiter
