"""`wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling")."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

BLOCK_SIZE_BYTES = 64 * 1024


class FileWrapper:
    """An iterable over a file-like object, in blocks; used by the thread of its request."""

    def __init__(self, file: Any, block_size_bytes: int = BLOCK_SIZE_BYTES) -> None:
        self.file = file
        self.block_size_bytes = block_size_bytes

    def __iter__(self) -> Iterator[bytes]:
        while block := self.file.read(self.block_size_bytes):
            yield block

    def close(self) -> None:
        """Close the file, if it can be closed."""
        close = getattr(self.file, "close", None)
        if close is not None:
            close()
