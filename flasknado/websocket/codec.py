"""A server's WebSocket frames: bytes to messages, messages to bytes (RFC 6455). Pure.

    receiver = Receiver(max_message_bytes=65536)
    try:
        for message in receiver.receive(data):
            ...
    except WebSocketError as error:
        stream.write(close_frame(error.code, str(error)))

No extensions, so no reserved bits. Fragments are joined, text is valid UTF-8, control
frames come out between the fragments of a message as they came in.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Iterator
from typing import NamedTuple

from flasknado.errors import FlasknadoError

CONTINUATION = 0x0
TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

CLOSE_NORMAL = 1000
CLOSE_GOING_AWAY = 1001
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

_DATA = frozenset((CONTINUATION, TEXT, BINARY))
_CONTROL = frozenset((CLOSE, PING, PONG))
_FIN = 0x80
_RESERVED = 0x70
_MASKED = 0x80
_MASK_BYTES = 4


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


class _Header(NamedTuple):
    final: bool
    opcode: int
    size_bytes: int
    length_bytes: int
    """Of the payload."""


class Receiver:
    """The incoming half of one connection. Holds at most one message, and one frame of another.

    max_message_bytes: the largest message, over all its fragments.
    """

    __slots__ = ("_buffer", "_closed", "_fragments", "_max_message_bytes", "_opcode", "_text")

    def __init__(self, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._buffer: bytearray | None = None
        self._fragments: list[bytes] | None = None
        self._opcode = CONTINUATION
        self._text: codecs.IncrementalDecoder | None = None
        self._closed = False

    def receive(self, data: bytes) -> Iterator[Message]:
        """Take bytes and yield what has come whole; to be iterated to its end.

        Raises `WebSocketError` at the first violation, after what came before it. After
        that, and after a `CLOSE`, what still comes is ignored.
        """
        buffer = self._buffer
        if buffer is None:
            buffer = bytearray(data)
        else:
            buffer += data
        self._buffer = None
        while not self._closed:
            try:
                message, taken_bytes = self._next(buffer)
            except WebSocketError:
                self._closed = True
                raise
            if not taken_bytes:
                break
            del buffer[:taken_bytes]
            if message is not None:
                self._closed = message.opcode == CLOSE
                yield message
        if buffer and not self._closed:
            self._buffer = buffer

    def _next(self, buffer: bytearray) -> tuple[Message | None, int]:
        """Return the message that the next frame completes, and the size of that frame, or 0."""
        header = self._header(buffer)
        if header is None:
            return None, 0
        end = header.size_bytes + header.length_bytes
        if len(buffer) < end:
            return None, 0
        mask = buffer[header.size_bytes - _MASK_BYTES : header.size_bytes]
        payload = masked(bytes(buffer[header.size_bytes : end]), mask)
        if header.opcode in _CONTROL:
            if header.opcode == CLOSE:
                _check_close(payload)
            return Message(header.opcode, payload), end
        return self._join(header, payload), end

    def _header(self, buffer: bytearray) -> _Header | None:
        """Return the checked header of a frame (section 5.2), or `None` if it is not whole."""
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        opcode = first & 0x0F
        final = bool(first & _FIN)
        length_bytes = second & 0x7F
        if first & _RESERVED:
            raise _violation("a reserved bit is set, and no extension was agreed on")
        if opcode not in _DATA and opcode not in _CONTROL:
            raise _violation(f"the opcode {opcode} is reserved")
        if not second & _MASKED:
            raise _violation("a client must mask its frames")
        if opcode in _CONTROL and (not final or length_bytes > MAX_CONTROL_BYTES):
            raise _violation("a control frame must be whole, of 125 bytes at most")
        if (opcode == CONTINUATION) is (self._fragments is None) and opcode in _DATA:
            raise _violation("a fragmented message must be continued, and only that")
        size_bytes = 2
        if length_bytes >= 126:
            width_bytes, least = (2, 126) if length_bytes == 126 else (8, 1 << 16)
            size_bytes += width_bytes
            if len(buffer) < size_bytes:
                return None
            length_bytes = int.from_bytes(buffer[2:size_bytes], "big")
            if length_bytes < least or length_bytes >> 63:
                raise _violation("the length is not written in its shortest form")
        if opcode in _DATA:
            self._check_size(length_bytes)
        return _Header(final, opcode, size_bytes + _MASK_BYTES, length_bytes)

    def _check_size(self, length_bytes: int) -> None:
        before_bytes = sum(map(len, self._fragments)) if self._fragments else 0
        if before_bytes + length_bytes > self._max_message_bytes:
            raise WebSocketError(
                CLOSE_TOO_BIG, f"a message may have {self._max_message_bytes} bytes"
            )

    def _join(self, header: _Header, payload: bytes) -> Message | None:
        """Take a data frame; return the message if it is whole (section 5.4)."""
        if self._fragments is None:
            if header.final:
                if header.opcode == TEXT:
                    _decode(payload)
                return Message(header.opcode, payload)
            self._fragments = []
            self._opcode = header.opcode
            if header.opcode == TEXT:
                self._text = codecs.getincrementaldecoder("utf-8")()
        if self._text is not None:
            # At once, so that text that can never become valid is not waited for.
            _decode(payload, self._text, final=header.final)
        if payload or not header.final:
            self._fragments.append(payload)
        if not header.final:
            return None
        message = Message(self._opcode, b"".join(self._fragments))
        self._fragments = self._text = None
        return message


def masked(payload: bytes, mask: bytes | bytearray) -> bytes:
    """Return the payload XOR its mask (section 5.3), which both masks and unmasks."""
    size = len(payload)
    if not size:
        return b""
    key = (bytes(mask) * (size // _MASK_BYTES + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(
        size, "little"
    )


def frame(opcode: int, payload: bytes = b"") -> bytes:
    """Return one unmasked, final frame, as a server sends it (section 5.2)."""
    size = len(payload)
    first = _FIN | opcode
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
        raise _violation("the closing frame has no valid code")
    _decode(payload[2:])
