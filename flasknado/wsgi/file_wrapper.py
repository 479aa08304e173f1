"""`wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling")."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from typing import Any, Final

BLOCK_SIZE_BYTES: Final = 64 * 1024


class FileWrapper:
    """The blocks of a file-like object, from where it stands; used by the thread of its request.

    It is its own iterator and can be told to seek, so that Werkzeug answers a range of
    a large file without reading what comes before it, and closes the file after it.
    """

    def __init__(self, file: Any, block_size_bytes: int = BLOCK_SIZE_BYTES) -> None:
        self.file = file
        self.block_size_bytes = block_size_bytes

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block: bytes = self.file.read(self.block_size_bytes)
        if not block:
            raise StopIteration
        return block

    def seekable(self) -> bool:
        """Return whether the file can seek."""
        seekable = getattr(self.file, "seekable", None)
        return seekable() if seekable is not None else hasattr(self.file, "seek")

    def seek(self, offset: int, whence: int = 0) -> None:
        """Move to another place in the file."""
        self.file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place in the file from which the next block is read."""
        place: int = self.file.tell()
        return place

    def regular_file(self) -> tuple[int, int, int] | None:
        """Return descriptor, place and bytes from there to the end, if it is a regular file."""
        if not isinstance(self.file, io.BufferedReader | io.FileIO):
            return None
        try:
            file_fd = self.file.fileno()
            status = os.fstat(file_fd)
            place = self.file.tell()
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return file_fd, place, status.st_size - place

    def close(self) -> None:
        """Close the file, if it can be closed."""
        close = getattr(self.file, "close", None)
        if close is not None:
            close()
