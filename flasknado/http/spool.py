"""A temporary file for a large body, written by threads of its own: a disk may be slow.

The loop hands over what has come and reads on, up to a bound; it is told when all has been
written, or that it cannot be.
"""

from __future__ import annotations

import logging
import tempfile
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from flasknado.errors import RequestError
from flasknado.http.mailbox import Mailbox

log = logging.getLogger("flasknado.http")

DISK_THREADS = 2
"""How many bodies of a process are written at once; the others wait for their turn."""

BEHIND_BYTES = 256 * 1024
"""How much of a body may wait for the disk before its client is read from no more."""

_threads: ThreadPoolExecutor | None = None


class Spool:
    """The file of one body. Used on the loop's thread, but for what is marked.

    `on_progress()` is called on it whenever the disk has done what it was given, or
    has failed (`error`).
    """

    __slots__ = ("_busy", "_closed", "_file", "_mailbox", "_on_progress", "_parts", "error")

    def __init__(self, mailbox: Mailbox, on_progress: Callable[[], None]) -> None:
        self._mailbox = mailbox
        self._on_progress = on_progress
        self._parts: deque[bytes] = deque()
        self._file: BinaryIO | None = None
        self._busy = 0
        self._closed = False
        self.error: OSError | None = None
        """Why the body cannot be kept."""

    @property
    def waiting_bytes(self) -> int:
        """How much has not been written yet."""
        return self._busy + sum(map(len, self._parts))

    @property
    def behind(self) -> bool:
        """Whether so much waits that no more should be read."""
        return self.waiting_bytes > BEHIND_BYTES

    def write(self, data: bytes) -> None:
        """Have data written behind what came before; does not wait."""
        if self.error is None:
            self._parts.append(data)
            self._go_on()

    def take(self) -> BinaryIO:
        """Return the file at its start, once nothing waits; it is the caller's to close."""
        assert self._file is not None
        assert not self.waiting_bytes
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Throw the file away."""
        self._closed = True
        self._parts.clear()
        if not self._busy and self._file is not None:
            _disk_threads().submit(self._file.close)

    def _go_on(self) -> None:
        if self._busy or not self._parts:
            return
        parts = list(self._parts)
        self._parts.clear()
        self._busy = sum(map(len, parts))
        _disk_threads().submit(self._write, parts)

    def _write(self, parts: list[bytes]) -> None:
        """Write, on a thread of the disk's."""
        error: OSError | None = None
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="flasknado-body-")  # noqa: SIM115
            self._file.writelines(parts)
            self._file.flush()
        except OSError as failure:
            error = failure
        self._mailbox.post(self._written, error)

    def _written(self, error: OSError | None) -> None:
        self._busy = 0
        if self._closed:
            self.close()
            return
        if error is not None:
            log.error("a request body cannot be stored in %s: %s", tempfile.tempdir, error)
            self.error = error
            self.close()
        else:
            self._go_on()
        self._on_progress()


def cannot_keep() -> RequestError:
    """Return the refusal of a body that the disk does not take (507)."""
    return RequestError(507, "the server cannot store the body right now: try again later")


def _disk_threads() -> ThreadPoolExecutor:
    # Made when needed, so after the fork.
    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="flasknado-disk")
    return _threads
