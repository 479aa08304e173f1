"""Raw HTTP over a socket: bytes as written here go out, and answers are read strictly."""

from __future__ import annotations

import contextlib
import socket
import struct
from dataclasses import dataclass, field
from types import TracebackType

DEADLINE_S = 20.0


class Truncated(AssertionError):
    """The connection ended before the answer did."""


@dataclass
class Answer:
    """One response as received; the body without its framing."""

    status_line: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    interim: list[bytes] = field(default_factory=list)
    """The status lines of the 1xx responses before it."""

    @property
    def status(self) -> int:
        return int(self.status_line.split(b" ", 2)[1])

    @property
    def text(self) -> str:
        return self.body.decode()

    def all(self, name: str) -> list[str]:
        """Return the values of every field of this name, in order."""
        wanted = name.lower().encode()
        return [value.decode("latin-1") for key, value in self.fields if key.lower() == wanted]

    def header(self, name: str) -> str | None:
        """Return the value of a field that may stand only once."""
        values = self.all(name)
        assert len(values) < 2, f"{name} stands {len(values)} times: {values}"
        return values[0] if values else None


class Wire:
    """One connection to a server. Every wait ends at a deadline."""

    def __init__(
        self, address: tuple[str, int], *, receive_buffer_bytes: int | None = None
    ) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect(address)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port on this side."""
        return int(self.socket.getsockname()[1])

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, request: bytes) -> Answer:
        """Send a whole request and return the answer to it."""
        self.send(request)
        return self.answer(method_of(request))

    def get(self, path: str, *, method: str = "GET") -> Answer:
        return self.ask(f"{method} {path} HTTP/1.1\r\nHost: example.test\r\n\r\n".encode())

    def head(self) -> Answer:
        """Read the head of an answer, past interim ones."""
        interim = []
        while True:
            status_line = self._line()
            fields = []
            while line := self._line():
                name, colon, value = line.partition(b":")
                assert colon, f"not a header field: {line!r}"
                fields.append((name, value.strip(b" \t")))
            answer = Answer(status_line, fields, interim=interim)
            if answer.status >= 200:
                return answer
            interim.append(status_line)

    def answer(self, method: str = "GET") -> Answer:
        """Read a whole answer, with the framing that its head announces (RFC 9112, section 6.3)."""
        answer = self.head()
        if method == "HEAD" or answer.status in (204, 304):
            return answer
        length = answer.header("Content-Length")
        if answer.header("Transfer-Encoding") == "chunked":
            assert length is None
            answer.body = b"".join(iter(self.chunk, b""))
        elif length is not None:
            answer.body = self._exactly(int(length))
        else:
            answer.body = self._file.read()
        return answer

    def chunk(self) -> bytes:
        """Read one chunk of a chunked body; empty at its end."""
        size = int(self._line(), 16)
        data = self._exactly(size)
        assert self._exactly(2) == b"\r\n"
        return data

    def rest(self) -> bytes:
        """Read until the server closes the connection, or resets it."""
        data = b""
        with contextlib.suppress(ConnectionError):
            while part := self._file.read1(65536):
                data += part
        return data

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def reset(self) -> None:
        """Leave as a crashed client does: by RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def _line(self) -> bytes:
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise Truncated(f"the connection ended in the line {line!r}")
        return line[:-2]

    def _exactly(self, size_bytes: int) -> bytes:
        data = self._file.read(size_bytes)
        if len(data) < size_bytes:
            raise Truncated(f"the connection ended after {data[-80:]!r}")
        return data


def method_of(request: bytes) -> str:
    return request.partition(b" ")[0].decode("latin-1")


def ask(address: tuple[str, int], request: bytes) -> Answer:
    """Return the answer to one request on a connection of its own."""
    with Wire(address) as wire:
        return wire.ask(request)
