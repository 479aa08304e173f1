"""Compression that is done once for all clients. Pure.

Each piece (an event, a notice) is compressed by itself and ends on a whole byte (RFC 1951,
section 3.2.4), so that the same bytes fit behind whatever a client was sent before: in a message
of permessage-deflate without context takeover (RFC 7692, section 7.2.1), and in a gzip stream.

Such a gzip stream has no trailer (RFC 1952, section 2.3.1), because its checksum would be of what
one client got. Browsers use what has come; they take the end for that of a lost connection.
"""

from __future__ import annotations

import zlib
from typing import Final

from flasknado.live.event import Cursor, Event
from flasknado.live.formats import NDJSON, NDJSON_CHUNKED, Chunked, Format, GoAway, WebSocket
from flasknado.live.html import SSE_FORMATS, WEBSOCKET_FORMATS
from flasknado.websocket import codec
from flasknado.websocket.codec import FrameHeader

LEVEL = 6
MIN_BYTES = 128
"""A WebSocket message that is shorter is sent as it is."""
_RAW = -zlib.MAX_WBITS
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_EMPTY_BLOCK = b"\x00\x00\xff\xff"


def compress(data: bytes) -> bytes:
    """Return a piece of a deflate stream, which needs nothing that came before."""
    if not data:
        return b""
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, _RAW)
    return compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether a client takes gzip (RFC 9110, section 12.5.3)."""
    for part in accept_encoding.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() in ("gzip", "x-gzip"):
            name, _, value = weight.partition("=")
            return name.strip() != "q" or value.strip(" 0.") != ""
    return False


class Gzip(Format):
    """Another format, compressed."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Format) -> None:
        self._inner = inner

    def event(self, epoch: str, event: Event) -> bytes:
        return compress(self._inner.event(epoch, event))

    def reset(self, cursor: Cursor) -> bytes:
        return compress(self._inner.reset(cursor))

    def heartbeat(self, cursor: Cursor) -> bytes:
        return compress(self._inner.heartbeat(cursor))

    def opening(self, retry_s: float) -> bytes:
        return _GZIP_HEADER + compress(self._inner.opening(retry_s))

    def closing(self, notice: GoAway) -> bytes:
        return compress(self._inner.closing(notice))

    def ended(self) -> bytes:
        return compress(self._inner.ended())


class DeflatedWebSocket(WebSocket):
    """Another format, with permessage-deflate in both directions."""

    deflates = True

    def __init__(self, inner: WebSocket) -> None:
        self._inner = inner
        self.takes_forms = inner.takes_forms

    def event(self, epoch: str, event: Event) -> bytes:
        return _deflated(self._inner.event(epoch, event))

    def reset(self, cursor: Cursor) -> bytes:
        return _deflated(self._inner.reset(cursor))

    def message(self, text: str) -> bytes:
        return _deflated(self._inner.message(text))


def _deflated(frame: bytes) -> bytes:
    """Return a frame of a text message with its payload compressed, if that is worth it."""
    header = FrameHeader.parse(frame)
    assert header is not None
    if header.length_bytes < MIN_BYTES:
        return frame
    payload = compress(frame[header.size_bytes :]).removesuffix(_EMPTY_BLOCK)
    return codec.frame(codec.TEXT, payload, compressed=True)


_GZIPPED: Final = {
    formats: (Gzip(formats[0]), Chunked(Gzip(formats[0])))
    for formats in (*SSE_FORMATS.values(), (NDJSON, NDJSON_CHUNKED))
}
_DEFLATED: Final = {inner: DeflatedWebSocket(inner) for inner in WEBSOCKET_FORMATS.values()}


def gzipped(formats: tuple[Format, Format]) -> tuple[Format, Format]:
    """Return a format compressed, plain and chunked: the same for all clients."""
    return _GZIPPED[formats]


def deflated(wire_format: WebSocket) -> WebSocket:
    """Return a format of WebSocket compressed: the same for all clients."""
    return _DEFLATED[wire_format]
