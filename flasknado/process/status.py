"""What a worker and its arbiter tell each other: two bytes in the worker's heartbeat file.

gunicorn gives every worker an unlinked temporary file that both processes hold open; its
modification time is the heartbeat. Its content is free, so the worker writes its state
there, and the arbiter the reason for which it tells the worker to stop. A `SIGTERM` alone
could not say that.
"""

from __future__ import annotations

import enum
import os


class WorkerState(enum.IntEnum):
    """What a worker says of itself."""

    BOOTING = 0
    SERVING = 1
    WORN = 2
    """Serving, and to be replaced: it has answered `max_requests`, or its threads hang."""


class StopReason(enum.IntEnum):
    """Why an arbiter tells a worker to stop."""

    UNTOLD = 0
    """No arbiter of ours said anything: stop as for a shutdown."""
    SHUTDOWN = 1
    RELOAD = 2
    RECYCLE = 3
    SURPLUS = 4

    @property
    def others_serve(self) -> bool:
        """Whether other workers go on serving the same sockets."""
        return self in (StopReason.RELOAD, StopReason.RECYCLE, StopReason.SURPLUS)


_STATE_OFFSET = 0
_REASON_OFFSET = 1


class StatusFile:
    """The two bytes of one worker, read and written in either process. Any thread."""

    def __init__(self, heartbeat_fd: int) -> None:
        self._fd = heartbeat_fd

    @property
    def state(self) -> WorkerState:
        """What the worker says of itself."""
        return WorkerState(self._read(_STATE_OFFSET))

    @state.setter
    def state(self, state: WorkerState) -> None:
        self._write(_STATE_OFFSET, state)

    @property
    def reason(self) -> StopReason:
        """Why the worker is told to stop."""
        return StopReason(self._read(_REASON_OFFSET))

    @reason.setter
    def reason(self, reason: StopReason) -> None:
        self._write(_REASON_OFFSET, reason)

    def _read(self, offset: int) -> int:
        found = os.pread(self._fd, 1, offset)
        return found[0] if found else 0

    def _write(self, offset: int, value: int) -> None:
        before = os.fstat(self._fd)
        os.pwrite(self._fd, bytes([value]), offset)
        # Writing set the time to now; the heartbeat is in `time.monotonic`'s seconds.
        os.utime(self._fd, ns=(before.st_atime_ns, before.st_mtime_ns))
