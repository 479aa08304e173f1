"""Response heads to bytes. Pure: may be called on any thread."""

from __future__ import annotations

from typing import Final

from flasknado.http.message import ResponseHead

KEEP_ALIVE_1_1: Final = b""
KEEP_ALIVE_1_0: Final = b"Connection: keep-alive\r\n"
CLOSE: Final = b"Connection: close\r\n"
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"


def encode_head(head: ResponseHead, framing: bytes, body: bytes = b"") -> bytes:
    """Return the head on the wire, and `body` after it; `framing` is the connection's own lines.

    The fields are trusted to be free of control characters (`ResponseHead`).
    """
    lines = head.lines.copy()
    lines.append(framing)
    lines.append(b"\r\n")
    lines.append(body)
    return b"".join(lines)


def frame_chunk(chunk: bytes) -> bytes:
    """Return a part of a chunked body; `chunk` is not empty (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(chunk), chunk)
