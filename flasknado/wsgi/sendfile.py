"""Sending a file by the kernel, from a pool thread, on a socket that the loop lends it.

The loop lends a socket once it has nothing left to write on it, and writes nothing before
it has it back. The thread works on a duplicate of the descriptor, so a connection that the
loop closes meanwhile cannot become somebody else's.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

from flasknado.errors import ClientDisconnected

LEAST_BYTES = 256 * 1024
"""Smaller bodies are written by the loop: lending costs two wake-ups."""

BLOCK_BYTES = 1024 * 1024
LOOK_INTERVAL_S = 0.5
"""How often a thread that waits for its client looks whether that has gone."""


class SocketLoan:
    """A socket asked for by a pool thread; granted or refused, once, by the loop."""

    __slots__ = ("_settled", "fd")

    def __init__(self) -> None:
        self._settled = threading.Event()
        self.fd: int | None = None

    def grant(self, fd: int) -> None:
        """Lend a duplicate of `fd`, which the thread closes. On the loop's thread."""
        try:
            self.fd = os.dup(fd)
        except OSError:  # too many are open: the thread goes on without
            pass
        finally:
            self._settled.set()

    def refuse(self) -> None:
        """Lend nothing. On the loop's thread."""
        self._settled.set()

    def wait(self) -> int | None:
        """Return the descriptor to write to, or `None`; on the pool's thread.

        The wait ends: the loop grants the loan, or cuts off a client that does not read.
        """
        self._settled.wait()
        return self.fd


def send_file(
    socket_fd: int,
    file_fd: int,
    offset: int,
    count: int,
    *,
    gone: Callable[[], bool],
    sent: Callable[[int], None],
    timeout_s: float,
) -> int:
    """Copy `count` bytes of a file from `offset` to a non-blocking socket; returns how many went.

    `sent` is told the size of each part. Fewer go only if the file is shorter. Raises
    `ClientDisconnected` if the client goes, or takes nothing for `timeout_s`. On a pool thread.
    """
    sent_bytes = 0
    waited_s = 0.0
    writable = select.poll()
    writable.register(socket_fd, select.POLLOUT)
    while sent_bytes < count:
        try:
            size = os.sendfile(
                socket_fd, file_fd, offset + sent_bytes, min(count - sent_bytes, BLOCK_BYTES)
            )
        except BlockingIOError:
            if gone() or waited_s >= timeout_s:
                raise ClientDisconnected("the client is not reading the file") from None
            waited_s = 0.0 if writable.poll(LOOK_INTERVAL_S * 1000) else waited_s + LOOK_INTERVAL_S
            continue
        except OSError as error:
            raise ClientDisconnected("the client closed the connection") from error
        if size == 0:
            break
        sent_bytes += size
        sent(size)
    return sent_bytes
