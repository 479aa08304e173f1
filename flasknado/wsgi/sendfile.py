"""Sending a file from the loop: by the kernel on a plain socket, else in blocks read by threads.

No thread waits for a client, however slowly it takes its file, and none for long for the disk:
the kernel is asked to send what it has in memory, and a block that it would have to read first is
read by a thread of the loop's executor.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from flasknado.wsgi.file_wrapper import PartOfFile

if TYPE_CHECKING:
    from flasknado.http.connection import Connection

log = logging.getLogger("flasknado.http")

LEAST_BYTES = 256 * 1024
"""Smaller bodies are written as others are: handing a file over costs a wake-up."""

BLOCK_BYTES = 256 * 1024
"""How much is sent before others have their turn on the loop."""


async def copy_file(
    file_fd: int, offset: int, count: int, write: Callable[[bytes], Awaitable[Any]]
) -> int:
    """Write `count` bytes of a file from `offset`, block by block; returns how many there were.

    `write(block)` is awaited before the next block is read. Raises what it raises, and `OSError`
    if the file cannot be read. On the loop's thread.
    """
    loop = asyncio.get_running_loop()
    copied_bytes = 0
    while copied_bytes < count:
        size = min(count - copied_bytes, BLOCK_BYTES)
        block = await loop.run_in_executor(None, os.pread, file_fd, size, offset + copied_bytes)
        if not block:
            break
        await write(block)
        copied_bytes += len(block)
    return copied_bytes


class OutgoingFile:
    """A part of a file on its way to one client. Belongs to the loop's thread.

    connection: nothing else is written on it meanwhile. part: its descriptor is closed here.
    `sent` is told the size of each part, and `ended` is called once, with whether all has gone;
    neither after `cancel()`.
    """

    __slots__ = (
        "_cancelled",
        "_connection",
        "_ended",
        "_left_bytes",
        "_offset",
        "_part",
        "_reading",
        "_sent",
        "_socket_fd",
        "_waiting",
    )

    def __init__(
        self,
        connection: Connection,
        part: PartOfFile,
        sent: Callable[[int], None],
        ended: Callable[[bool], None],
    ) -> None:
        self._connection = connection
        self._part = part
        self._sent = sent
        self._ended = ended
        self._offset = part.offset
        self._left_bytes = part.size_bytes
        self._socket_fd = -1
        """A duplicate of the socket's, so that a connection which the loop closes meanwhile
        cannot become somebody else's; -1: none."""
        self._waiting = False
        """Whether what was written before has not gone."""
        self._reading = False
        """Whether a thread reads from the file, which must stay open for it."""
        self._cancelled = False

    @property
    def past_transport(self) -> bool:
        """Whether the kernel sends it, so that nothing of it waits in the transport."""
        return self._socket_fd >= 0

    def begin(self) -> None:
        """Send it, once what was written before has gone."""
        transport = self._connection.transport
        if self._connection.secure or transport.get_extra_info("socket") is None:
            self._copy_blocks()
            return
        if transport.get_write_buffer_size():
            # With no room at all the transport says when it has written everything.
            transport.set_write_buffer_limits(0)
        self._waiting = True
        if not self._connection.write_paused:
            self.drained()

    def drained(self) -> None:
        """Have the kernel send it: the client has taken what was written before."""
        if not self._waiting:
            return
        self._waiting = False
        connection = self._connection
        transport = connection.transport
        transport.set_write_buffer_limits(high=connection.shared.limits.write_high_water_bytes)
        try:
            self._socket_fd = os.dup(transport.get_extra_info("socket").fileno())
        except OSError:  # too many are open
            self._copy_blocks()
            return
        connection.shared.loop.add_writer(self._socket_fd, self._send)
        connection.watch_client()

    def cancel(self) -> None:
        """Send no more: the client has gone."""
        self._cancelled = True
        self._close()

    # By the kernel.

    def _send(self) -> None:
        """Send a block: the socket has room."""
        size = min(self._left_bytes, BLOCK_BYTES)
        if in_memory(self._part.file_fd, self._offset, size):
            self._copy(size)
            return
        loop = self._connection.shared.loop
        loop.remove_writer(self._socket_fd)
        self._reading = True
        reading = loop.run_in_executor(None, os.pread, self._part.file_fd, size, self._offset)
        reading.add_done_callback(self._read)

    def _read(self, reading: asyncio.Future[bytes]) -> None:
        """Go on with a block that is in memory now, or cannot be read."""
        self._reading = False
        failed = reading.cancelled() or reading.exception() is not None
        if self._cancelled:
            self._close()
        elif failed:
            self._end(False)
        else:
            self._connection.shared.loop.add_writer(self._socket_fd, self._send)
            # Whether or not it has been dropped again: it must not be read forever.
            self._copy(min(self._left_bytes, BLOCK_BYTES))

    def _copy(self, size: int) -> None:
        try:
            copied_bytes = os.sendfile(self._socket_fd, self._part.file_fd, self._offset, size)
        except BlockingIOError:
            return
        except OSError:  # the client has gone, or the disk
            self._end(False)
            return
        self._offset += copied_bytes
        self._left_bytes -= copied_bytes
        self._sent(copied_bytes)
        if not self._left_bytes:
            self._end(True)
        elif not copied_bytes:
            log.warning("a file became shorter while it was sent: its client is cut off")
            self._end(False)

    # In blocks.

    def _copy_blocks(self) -> None:
        self._reading = True
        part = self._part
        copying = copy_file(part.file_fd, part.offset, part.size_bytes, self._write)
        task = self._connection.shared.loop.create_task(copying)
        task.add_done_callback(self._copied)

    def _write(self, block: bytes) -> asyncio.Future[None]:
        if not self._cancelled:
            self._sent(len(block))
            self._connection.transport.write(block)
        return self._connection.drained()

    def _copied(self, task: asyncio.Task[int]) -> None:
        self._reading = False
        failed = task.cancelled() or task.exception() is not None
        if self._cancelled:
            self._close()
        else:
            self._end(not failed and task.result() == self._part.size_bytes)

    # The end.

    def _end(self, whole: bool) -> None:
        self._close()
        self._ended(whole)

    def _close(self) -> None:
        """Let the descriptors go, but for what a thread uses still."""
        if self._socket_fd >= 0:
            self._connection.shared.loop.remove_writer(self._socket_fd)
            os.close(self._socket_fd)
            self._socket_fd = -1
        if not self._reading and self._left_bytes >= 0:
            self._left_bytes = -1
            os.close(self._part.file_fd)


def in_memory(file_fd: int, offset: int, size: int) -> bool:
    """Return whether the beginning and the end of a block need not be read from the disk.

    True, too, where the system does not tell.
    """
    flag = getattr(os, "RWF_NOWAIT", 0)
    if not flag:
        return True
    byte = bytearray(1)
    try:
        for place in (offset, offset + size - 1):
            os.preadv(file_fd, [byte], place, flag)
    except BlockingIOError:
        return False
    except OSError:  # not for this file system
        return True
    return True
