"""Gathering the body of a request on the loop: memory up to a limit, then a temporary file.

A slow upload thus holds no thread, and a large one little memory.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Final

from flasknado.http.body_limits import body_too_large
from flasknado.http.mailbox import Mailbox
from flasknado.http.message import Body
from flasknado.http.spool import Spool, cannot_keep

MEMORY_LIMIT_BYTES: Final = 1024 * 1024
"""Bodies above this size are kept in a temporary file."""


class BodyBuffer:
    """The body of one request while it arrives. Used on the loop's thread only.

    `on_progress()` is called on it when the disk has caught up with a large body, or failed.
    """

    __slots__ = ("_mailbox", "_max_body_bytes", "_memory", "_on_progress", "_spool", "length_bytes")

    def __init__(
        self, max_body_bytes: int, mailbox: Mailbox, on_progress: Callable[[], None]
    ) -> None:
        self._max_body_bytes = max_body_bytes
        self._mailbox = mailbox
        self._on_progress = on_progress
        self._memory = io.BytesIO()
        self._spool: Spool | None = None
        self.length_bytes = 0

    @property
    def held_bytes(self) -> int:
        """How much of it is in memory."""
        return self.length_bytes if self._spool is None else self._spool.waiting_bytes

    @property
    def behind(self) -> bool:
        """Whether the disk must catch up before more is read."""
        return self._spool is not None and self._spool.behind

    @property
    def written(self) -> bool:
        """Whether nothing waits for the disk. Raises `RequestError` (507) if it has failed."""
        spool = self._spool
        if spool is None:
            return True
        if spool.error is not None:
            raise cannot_keep()
        return not spool.waiting_bytes

    def append(self, data: bytes) -> None:
        """Add received bytes; raises `RequestError`: 413 above the limit, 507 on a full disk."""
        length_bytes = self.length_bytes + len(data)
        if length_bytes > self._max_body_bytes:
            raise body_too_large(self._max_body_bytes)
        self.length_bytes = length_bytes
        if self._spool is not None:
            if self._spool.error is not None:
                raise cannot_keep()
            self._spool.write(data)
            return
        self._memory.write(data)
        if length_bytes > MEMORY_LIMIT_BYTES:
            self._spool = Spool(self._mailbox, self._on_progress)
            self._spool.write(self._memory.getvalue())
            self._memory.close()

    def complete(self) -> Body:
        """Return the body, at its start, once it is `written`; the buffer is then done with."""
        if self._spool is not None:
            return Body(self._spool.take(), self.length_bytes)
        self._memory.seek(0)
        return Body(self._memory, self.length_bytes)

    def discard(self) -> None:
        """Forget what has arrived: the client has gone or is being refused."""
        if self._spool is not None:
            self._spool.close()
        else:
            self._memory.close()
