"""Waking a thread that waits for other things too: files, or some time."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterable

_MANY_BYTES = 4096


class Wakeup:
    """One thread waits, any thread rings; several rings before it looks are one."""

    __slots__ = ("_receiver", "_rung", "_sender")

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        self._rung = False

    def wake(self) -> None:
        """End the present wait, or the next one at once. May be called on any thread."""
        if not self._rung:
            self._rung = True
            with contextlib.suppress(OSError):  # closed: nobody waits any more
                self._sender.send(b"\0")

    def wait(self, timeout_s: float, files: Iterable[int] = ()) -> None:
        """Return when it has rung, one of these file descriptors can be read, or in time."""
        waiting = select.poll()
        for file in (self._receiver.fileno(), *files):
            waiting.register(file, select.POLLIN)
        waiting.poll(timeout_s * 1000)
        with contextlib.suppress(BlockingIOError):
            self._receiver.recv(_MANY_BYTES)
        # Cleared last: who rings before this has done before what the caller looks at next.
        self._rung = False

    def close(self) -> None:
        """Let the sockets go; on the thread that waits, once it waits no more."""
        self._sender.close()
        self._receiver.close()
