"""The chunked transfer coding of request bodies (RFC 9112, section 7.1).

llhttp refuses white space that the grammar allows around `;` and `=` in chunk extensions, and
takes `;name=` without a value. So the sizes are read here; trailers stay llhttp's.
"""

from __future__ import annotations

import re
from typing import Final

from flasknado.errors import RequestError

MAX_SIZE_LINE_BYTES: Final = 4096
"""The longest line of a chunk's size and its extensions."""

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED: Final = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_SIZE_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,16})"
    rb"(?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)*\Z" % (_TOKEN, _TOKEN, _QUOTED)
)


class ChunkedBody:
    """Takes the framing off one body; belongs to the thread that feeds it.

    After it has raised it must not be fed again.
    """

    __slots__ = ("_after_data", "_line", "ended", "left_bytes", "sizes_read")

    def __init__(self) -> None:
        self.left_bytes = 0
        """How much of the present chunk is to come."""
        self.ended = False
        """True after the line of the last chunk: what follows are the trailers."""
        self.sizes_read = 0
        """How many chunks have begun."""
        self._after_data = False
        self._line = b""
        """The beginning of a line whose end has not come yet."""

    def feed(self, data: bytes, start: int) -> tuple[bytes, int]:
        """Return the content in `data` from `start`, and where what was read ends.

        It ends before the end of `data` only if the last chunk is in it. Raises
        `RequestError` (400) for what is not chunked.
        """
        contents: list[bytes] = []
        end = len(data)
        while start < end and not self.ended:
            if self.left_bytes:
                content = data[start : start + self.left_bytes]
                contents.append(content)
                start += len(content)
                self.left_bytes -= len(content)
                self._after_data = not self.left_bytes
                continue
            found = data.find(b"\n", start)
            line = data[start : found + 1 if found >= 0 else end]
            start += len(line)
            if self._line:
                line = self._line + line
            if found < 0:
                self._keep(line)
            else:
                self._line = b""
                self._take(line)
        return contents[0] if len(contents) == 1 else b"".join(contents), start

    def _keep(self, line: bytes) -> None:
        if len(line) > (2 if self._after_data else MAX_SIZE_LINE_BYTES):
            raise self._refusal()
        self._line = line

    def _take(self, line: bytes) -> None:
        if not line.endswith(b"\r\n") or len(line) > MAX_SIZE_LINE_BYTES:
            raise self._refusal()
        if self._after_data:
            if len(line) > 2:
                raise self._refusal()
            self._after_data = False
            return
        match = _SIZE_LINE.match(line, 0, len(line) - 2)
        if match is None:
            raise self._refusal()
        self.sizes_read += 1
        self.left_bytes = int(match[1], 16)
        self.ended = not self.left_bytes

    def _refusal(self) -> RequestError:
        if self._after_data:
            return RequestError(400, "a chunk is longer than its size (RFC 9112, section 7.1)")
        return RequestError(400, "a chunk's size line is malformed (RFC 9112, section 7.1)")
