"""The frames of a client whose WebSocket code is not ours, looked at as they pass. Pure."""

from __future__ import annotations

from flasknado.websocket.codec import PING, FrameHeader, FrameLimiter


class FrameWatch:
    """Counts the frames in the bytes of one client, and leaves their meaning to others.

    For Tornado's `WebSocketHandler`, which bounds the bytes of a message and not its frames.
    """

    __slots__ = ("_limiter", "_partial", "_skip_bytes")

    def __init__(self) -> None:
        self._limiter = FrameLimiter()
        self._partial = b""
        """The beginning of a frame whose header has not come whole."""
        self._skip_bytes = 0
        """How much of the present frame has not come yet."""

    def received(self, data: bytes) -> None:
        """Look at what the client sent; raises `WebSocketError` (1008) if it is too much."""
        at = 0
        while at < len(data):
            if self._skip_bytes:
                step_bytes = min(self._skip_bytes, len(data) - at)
                self._skip_bytes -= step_bytes
                at += step_bytes
                continue
            if self._partial:
                data = self._partial + data[at:]
                self._partial = b""
                at = 0
            header = FrameHeader.parse(data, at)
            if header is None:
                self._partial = data[at:]
                return
            self._limiter.take(header.final, header.opcode, header.length_bytes)
            self._skip_bytes = header.size_bytes + header.length_bytes

    def sent(self, data: bytes | memoryview) -> None:
        """Look at a frame that the server sends: its pings may be answered."""
        if data and data[0] & 0x0F == PING:
            self._limiter.pinged()
