"""A server's WebSocket frames: bytes to messages, messages to bytes (RFC 6455). Pure.

    receiver = Receiver(max_message_bytes=65536)
    try:
        for message in receiver.receive(data):
            ...
    except WebSocketError as error:
        stream.write(close_frame(error.code, str(error)))

The only extension is permessage-deflate without context takeover (RFC 7692), if asked for; what a
message inflates to counts against its limit. Fragments are joined, text is valid UTF-8, control
frames come out between the fragments of a message as they came in. The work grows with the
bytes that come and with nothing else, and `max_frames` divides it into turns.
"""

from __future__ import annotations

import codecs
import struct
import sys
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from flasknado.errors import FlasknadoError
from flasknado.token_bucket import TokenBucket

CONTINUATION = 0x0
TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

CLOSE_NORMAL = 1000
CLOSE_PROTOCOL_ERROR = 1002
CLOSE_INVALID_DATA = 1007
CLOSE_POLICY = 1008
CLOSE_TOO_BIG = 1009
CLOSE_INTERNAL_ERROR = 1011
CLOSE_RESTART = 1012
CLOSE_TRY_LATER = 1013
"""RFC 6455, section 7.4.1, and IANA's WebSocket close code registry."""

MAX_CONTROL_BYTES = 125
MAX_REASON_BYTES = MAX_CONTROL_BYTES - 2

FREE_FRAMES = 1024
BYTES_PER_FRAME = 64
"""A message may come in 1,024 frames, and one more for each 64 bytes that it has."""

CONTROL_FRAMES_PER_S = 10.0
CONTROL_FRAMES_BURST = 200.0
UNASKED_PONG_COST = 10.0
"""How many pings a client may send; a pong that no ping asked for counts as ten of them."""

_DATA = frozenset((CONTINUATION, TEXT, BINARY))
_CONTROL = frozenset((CLOSE, PING, PONG))
_FIN = 0x80
_RESERVED = 0x70
_COMPRESSED = 0x40
_EMPTY_BLOCK = b"\x00\x00\xff\xff"
"""What ends each message before it is sent without it (RFC 7692, section 7.2.1)."""
_MASKED = 0x80
_MASK_BYTES = 4
_SHORT_HEADER_BYTES = 2 + _MASK_BYTES
MAX_SHORT_BYTES = 125
"""The longest payload whose length is in the second byte of its frame."""


class WebSocketError(FlasknadoError):
    """The client broke the protocol or a limit; `code` is the close code to answer with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Message(NamedTuple):
    """A whole message, or a control frame: `CLOSE` (checked), `PING` or `PONG`."""

    opcode: int
    payload: bytes

    @property
    def close_code(self) -> int | None:
        """The code of a `CLOSE`, if it has one."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else None


class FrameHeader(NamedTuple):
    """The beginning of a frame (RFC 6455, section 5.2), as the client wrote it."""

    final: bool
    opcode: int
    reserved: int
    masked: bool
    size_bytes: int
    """Of the header itself, with its mask."""
    length_bytes: int
    """Of the payload."""

    @classmethod
    def parse(cls, buffer: bytes | bytearray, at: int = 0) -> FrameHeader | None:
        """Return the header that begins at `at`; `None` if its length has not come whole."""
        if len(buffer) < at + 2:
            return None
        first, second = buffer[at], buffer[at + 1]
        length_bytes = second & 0x7F
        size_bytes = 2
        if length_bytes >= 126:
            size_bytes = 4 if length_bytes == 126 else 10
            if len(buffer) < at + size_bytes:
                return None
            length_bytes = int.from_bytes(buffer[at + 2 : at + size_bytes], "big")
        masked = bool(second & _MASKED)
        if masked:
            size_bytes += _MASK_BYTES
        return cls(
            bool(first & _FIN), first & 0x0F, first & _RESERVED, masked, size_bytes, length_bytes
        )


class FrameLimiter:
    """Bounds the frames of one client that cost more than they bring."""

    __slots__ = ("_asked", "_bytes", "_control", "_frames")

    def __init__(self) -> None:
        self._frames = 0
        """Of the message that has begun and not ended, with the control frames between."""
        self._bytes = 0
        self._asked = 0
        self._control: TokenBucket | None = None

    def pinged(self) -> None:
        """The server has sent a ping, which one pong may answer."""
        self._asked += 1

    def take(self, final: bool, opcode: int, length_bytes: int) -> None:
        """Count a frame in; raises `WebSocketError` (1008) if it is one too many."""
        if opcode & CLOSE:
            self._take_control(opcode)
            if not self._frames:
                return
        elif final:
            self._frames = self._bytes = 0
            return
        self._frames += 1
        self._bytes += length_bytes
        if self._frames > FREE_FRAMES + self._bytes // BYTES_PER_FRAME:
            raise WebSocketError(
                CLOSE_POLICY, f"too many frames for a message of {self._bytes} bytes"
            )

    def _take_control(self, opcode: int) -> None:
        cost = 1.0
        if opcode == PONG:
            if self._asked:
                # One pong may answer several pings (section 5.5.3).
                self._asked -= 1
                return
            cost = UNASKED_PONG_COST
        if self._control is None:
            self._control = TokenBucket(CONTROL_FRAMES_PER_S, CONTROL_FRAMES_BURST)
        if self._control.take(cost) < 0:
            what = "pongs that nobody asked for" if opcode == PONG else "control frames"
            raise WebSocketError(CLOSE_POLICY, f"too many {what}")


class Receiver:
    """The incoming half of one connection. Holds at most one message, and one frame of another.

    max_message_bytes: the largest message, over all its fragments, compressed and not.
    inflates: whether messages may be compressed, each by itself.
    """

    __slots__ = (
        "_at",
        "_buffer",
        "_closed",
        "_compressed",
        "_failed",
        "_inflates",
        "_joined",
        "_limiter",
        "_max_message_bytes",
        "_opcode",
        "_skip_bytes",
        "_text",
        "waiting",
    )

    def __init__(self, max_message_bytes: int, *, inflates: bool = False) -> None:
        self._max_message_bytes = max_message_bytes
        self._inflates = inflates
        self._compressed = False
        """Whether the message that has begun is compressed."""
        self._buffer: bytearray | None = None
        self._at = 0
        """How much of the buffer has been read."""
        self._limiter: FrameLimiter | None = None
        self._joined: bytearray | None = None
        """The message that has begun and not ended."""
        self._opcode = CONTINUATION
        self._text: codecs.IncrementalDecoder | None = None
        self._closed = False
        self._failed = False
        self._skip_bytes = 0
        """How much of the present frame is still to be skipped, after a violation."""
        self.waiting = False
        """Whether there may be more to read of what was given."""

    @property
    def limiter(self) -> FrameLimiter:
        """What counts the client's frames."""
        if self._limiter is None:
            self._limiter = FrameLimiter()
        return self._limiter

    @property
    def held_bytes(self) -> int:
        """How much is held of what has come."""
        held_bytes = len(self._buffer) if self._buffer is not None else 0
        return held_bytes + (len(self._joined) if self._joined is not None else 0)

    def receive(self, data: bytes = b"", max_frames: int = sys.maxsize) -> Iterator[Message]:
        """Take bytes and yield what has come whole, out of at most `max_frames` frames.

        Call it again, with new data or none, while `waiting` is true. Raises
        `WebSocketError` at the first violation, after what came before it. After that
        everything is skipped but a `CLOSE`, which says that the client has closed, too;
        after a `CLOSE` everything is ignored.
        """
        if self._closed:
            return
        if self._buffer is None:
            self._buffer = bytearray(data)
        else:
            self._buffer += data
        self.waiting = True
        for _ in range(max_frames):
            read = self._skip if self._failed else self._next
            message, whole = read(self._buffer, self._at)
            self._closed = message is not None and message.opcode == CLOSE
            self.waiting = whole and not self._closed
            self._forget_read()
            if message is not None:
                yield message
            if not self.waiting or self._buffer is None:
                self.waiting = False
                return

    def whole_text(self, data: bytes) -> bytes | None:
        """Return the text of a message, as UTF-8, if `data` is one in a single short frame.

        Most messages come so. Returns `None` for everything else, which `receive()` takes.
        """
        size = len(data) - _SHORT_HEADER_BYTES
        if (
            not 0 <= size <= min(MAX_SHORT_BYTES, self._max_message_bytes)
            or data[0] != _FIN | TEXT
            or data[1] != _MASKED | size
            or self._buffer is not None
            or self._joined is not None
            or self._failed
            or self._closed
        ):
            return None
        payload = masked(data[_SHORT_HEADER_BYTES:], data[2:_SHORT_HEADER_BYTES])
        return payload if payload.isascii() else None

    def _forget_read(self) -> None:
        """Drop what has been read once it is the greater part, so that each byte moves once."""
        buffer = self._buffer
        assert buffer is not None
        if self._closed or self._at == len(buffer):
            # A client at rest holds nothing of its last message.
            self._buffer = None
            self._at = 0
        elif self._at * 2 > len(buffer):
            del buffer[: self._at]
            self._at = 0

    def _next(self, buffer: bytearray, at: int) -> tuple[Message | None, bool]:
        """Read the frame at `at`; return the message that it completes, and if it is whole."""
        try:
            header = FrameHeader.parse(buffer, at)
            if len(buffer) >= at + 2:
                self._check(buffer[at], buffer[at + 1], header)
            if header is None:
                return None, False
            payload_at = at + header.size_bytes
            end = payload_at + header.length_bytes
            if len(buffer) < end:
                return None, False
            if not header.final or self._joined is not None or header.opcode in _CONTROL:
                self.limiter.take(header.final, header.opcode, header.length_bytes)
            mask = buffer[payload_at - _MASK_BYTES : payload_at]
            payload = masked(bytes(buffer[payload_at:end]), mask)
            if header.opcode in _CONTROL:
                if header.opcode == CLOSE:
                    _check_close(payload)
                message: Message | None = Message(header.opcode, payload)
            else:
                message = self._join(header, payload)
        except WebSocketError:
            self._failed = True
            self._joined = self._text = None
            raise
        self._at = end
        return message, True

    def _check(self, first: int, second: int, header: FrameHeader | None) -> None:
        """Raise `WebSocketError` for a header that may not be (section 5.2), also a partial one."""
        opcode = first & 0x0F
        short_bytes = second & 0x7F
        if first & _RESERVED:
            compressed = self._inflates and first & _RESERVED == _COMPRESSED
            if not (compressed and opcode in (TEXT, BINARY)):
                raise _violation("a reserved bit is set without an extension")
        if opcode not in _DATA and opcode not in _CONTROL:
            raise _violation(f"the opcode {opcode} is reserved")
        if not second & _MASKED:
            raise _violation("client frames must be masked")
        if opcode in _CONTROL:
            if not first & _FIN or short_bytes > MAX_CONTROL_BYTES:
                raise _violation("a control frame must be unfragmented and at most 125 bytes long")
            return
        if (opcode == CONTINUATION) is (self._joined is None):
            raise _violation("unexpected opcode in or after a fragmented message")
        if header is None:
            return
        if short_bytes >= 126:
            least = 126 if short_bytes == 126 else 1 << 16
            if header.length_bytes < least or header.length_bytes >> 63:
                raise _violation("the length is not encoded in its shortest form")
        before_bytes = len(self._joined) if self._joined is not None else 0
        if before_bytes + header.length_bytes > self._max_message_bytes:
            raise WebSocketError(
                CLOSE_TOO_BIG, f"the message is larger than {self._max_message_bytes} bytes"
            )

    def _join(self, header: FrameHeader, payload: bytes) -> Message | None:
        """Take a data frame; return the message if it is whole (section 5.4)."""
        joined = self._joined
        if joined is None:
            self._compressed = header.reserved == _COMPRESSED
            if header.final:
                return self._whole(header.opcode, payload, checked=False)
            joined = self._joined = bytearray()
            self._opcode = header.opcode
            if header.opcode == TEXT and not self._compressed:
                self._text = codecs.getincrementaldecoder("utf-8")()
        if self._text is not None:
            # At once, so that text that can never become valid is not waited for.
            _decode(payload, self._text, final=header.final)
        joined += payload
        if not header.final:
            return None
        self._joined = self._text = None
        return self._whole(self._opcode, bytes(joined), checked=not self._compressed)

    def _whole(self, opcode: int, payload: bytes, *, checked: bool) -> Message:
        """Return a message as it was meant; `checked` says whether its text is known to be text."""
        if self._compressed:
            payload = _inflated(payload, self._max_message_bytes)
        if opcode == TEXT and not checked:
            _decode(payload)
        return Message(opcode, payload)

    def _skip(self, buffer: bytearray, at: int) -> tuple[Message | None, bool]:
        """Skip the frame at `at` of a client that broke the protocol, as far as it has come."""
        closing = None
        if not self._skip_bytes:
            header = FrameHeader.parse(buffer, at)
            if header is None:
                return None, False
            self._skip_bytes = header.size_bytes + header.length_bytes
            if header.opcode == CLOSE:
                closing = Message(CLOSE, b"")
        step_bytes = min(self._skip_bytes, len(buffer) - at)
        self._at = at + step_bytes
        self._skip_bytes -= step_bytes
        return closing, not self._skip_bytes


def masked(payload: bytes, mask: bytes | bytearray) -> bytes:
    """Return the payload XOR its mask (section 5.3), which both masks and unmasks."""
    size = len(payload)
    if not size:
        return b""
    key = (bytes(mask) * (size // _MASK_BYTES + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(
        size, "little"
    )


def _inflated(payload: bytes, max_bytes: int) -> bytes:
    """Return what a message was before it was compressed (RFC 7692, section 7.2.2).

    Never makes more than `max_bytes` and one of it, whatever a few bytes say.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        text = inflater.decompress(payload + _EMPTY_BLOCK, max_bytes + 1)
    except zlib.error:
        raise WebSocketError(CLOSE_INVALID_DATA, "a message cannot be decompressed") from None
    if len(text) > max_bytes:
        raise WebSocketError(CLOSE_TOO_BIG, f"the message is larger than {max_bytes} bytes")
    return text


def frame(opcode: int, payload: bytes = b"", *, compressed: bool = False) -> bytes:
    """Return one unmasked, final frame, as a server sends it (section 5.2)."""
    size = len(payload)
    first = _FIN | opcode | (_COMPRESSED if compressed else 0)
    if size < 126:
        return struct.pack("!BB", first, size) + payload
    if size <= 0xFFFF:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def close_frame(code: int | None, reason: str = "") -> bytes:
    """Return a closing frame (section 5.5.1); the reason is cut where it is too long."""
    if code is None:
        return frame(CLOSE)
    text = reason.encode()[:MAX_REASON_BYTES].decode("utf-8", "ignore")
    return frame(CLOSE, code.to_bytes(2, "big") + text.encode())


def _violation(reason: str) -> WebSocketError:
    return WebSocketError(CLOSE_PROTOCOL_ERROR, reason)


def _decode(
    payload: bytes, decoder: codecs.IncrementalDecoder | None = None, *, final: bool = True
) -> None:
    try:
        if decoder is None:
            payload.decode()
        else:
            decoder.decode(payload, final)
    except UnicodeDecodeError:
        raise WebSocketError(CLOSE_INVALID_DATA, "a text message is not UTF-8") from None


def _check_close(payload: bytes) -> None:
    """Raise `WebSocketError` for a closing frame with a bad code or reason (section 7.4)."""
    if not payload:
        return
    code = int.from_bytes(payload[:2], "big")
    known = code in (1000, 1001, 1002, 1003) or 1007 <= code <= 1014 or 3000 <= code <= 4999
    if len(payload) == 1 or not known:
        raise _violation("invalid close code")
    _decode(payload[2:])
