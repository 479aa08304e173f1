"""`wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling")."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

try:
    import werkzeug.wsgi as werkzeug_wsgi
except ImportError:  # served applications need not be made with it
    werkzeug_wsgi = None  # type: ignore[assignment]

BLOCK_SIZE_BYTES: Final = 64 * 1024


class PartOfFile(NamedTuple):
    """A part of a regular file: an open descriptor, where the part begins, and its size."""

    file_fd: int
    offset: int
    size_bytes: int


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

    def regular_file(self) -> PartOfFile | None:
        """Return what is left of the file, if it is a regular one."""
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
        return PartOfFile(file_fd, place, status.st_size - place)

    def close(self) -> None:
        """Close the file, if it can be closed."""
        close = getattr(self.file, "close", None)
        if close is not None:
            close()


_RangeWrapper: Final[type] = getattr(werkzeug_wsgi, "_RangeWrapper", FileWrapper)
"""What Werkzeug puts around a wrapper for a range of a file, and says so nowhere else."""

FILE_TYPES: Final = frozenset((FileWrapper, _RangeWrapper))
"""The types of the iterables that `part_of_file` knows."""


def part_of_file(iterable: Any) -> PartOfFile | None:
    """Return what of a regular file a response is, if it is such, and nothing has been read."""
    if isinstance(iterable, FileWrapper):
        return iterable.regular_file()
    wrapper, start = getattr(iterable, "iterable", None), getattr(iterable, "start_byte", None)
    if not isinstance(wrapper, FileWrapper) or not isinstance(start, int):
        return None
    whole = wrapper.regular_file()
    if whole is None or getattr(iterable, "read_length", None):
        return None
    # Werkzeug seeks from the beginning of the file.
    return PartOfFile(whole.file_fd, start, whole.size_bytes + whole.offset - start)
