"""Response heads to bytes. Pure: may be called on any thread."""

from __future__ import annotations

from flasknado.http.message import ResponseHead

KEEP_ALIVE_1_1 = ""
KEEP_ALIVE_1_0 = "Connection: keep-alive\r\n"
CLOSE = "Connection: close\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def encode_head(head: ResponseHead, framing: str) -> bytes:
    """Return the head on the wire; `framing` is the lines that are the connection's own.

    The fields are trusted to be free of control characters (`ResponseHead`).
    """
    lines = [f"HTTP/1.1 {head.status} {head.reason}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in head.headers]
    lines.append(framing)
    lines.append("\r\n")
    return "".join(lines).encode("latin-1")


def frame_chunk(chunk: bytes) -> bytes:
    """Return a part of a chunked body; `chunk` is not empty (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(chunk), chunk)
