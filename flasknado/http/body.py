"""Gathering the body of a request on the loop: memory up to a limit, then a temporary file.

A slow upload thus holds no thread, and a large one little memory.
"""

from __future__ import annotations

import io
import tempfile
from typing import BinaryIO, Final

from flasknado.http.body_limits import body_too_large
from flasknado.http.message import Body

MEMORY_LIMIT_BYTES: Final = 1024 * 1024
"""Bodies above this size are kept in a temporary file."""


class BodyBuffer:
    """The body of one request while it arrives. Used on the loop's thread only."""

    __slots__ = ("_file", "_max_body_bytes", "length_bytes")

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._file: BinaryIO = io.BytesIO()
        self.length_bytes = 0

    def append(self, data: bytes) -> None:
        """Add received bytes; raises `RequestError` (413) above the limit."""
        length_bytes = self.length_bytes + len(data)
        if length_bytes > self._max_body_bytes:
            raise body_too_large(self._max_body_bytes)
        if self.length_bytes <= MEMORY_LIMIT_BYTES < length_bytes:
            self._move_to_disk()
        self._file.write(data)
        self.length_bytes = length_bytes

    def _move_to_disk(self) -> None:
        memory = self._file
        assert isinstance(memory, io.BytesIO)
        self._file = tempfile.TemporaryFile(prefix="flasknado-body-")  # noqa: SIM115 (the request closes it)
        self._file.write(memory.getbuffer())

    def complete(self) -> Body:
        """Return the body, at its start; the buffer is then done with."""
        self._file.seek(0)
        return Body(self._file, self.length_bytes)

    def discard(self) -> None:
        """Forget what has arrived: the client has gone or is being refused."""
        self._file.close()
