"""Raw requests on sockets: bytes go out as written, in the pieces asked for."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterable

DEADLINE_S = 20.0


def connect(
    address: tuple[str, int] | str, receive_buffer_bytes: int | None = None
) -> socket.socket:
    """Return a connected socket with a deadline; a `str` is the path of a Unix socket."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    if receive_buffer_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    sock.settimeout(DEADLINE_S)
    sock.connect(address)
    if family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_to_end(sock: socket.socket) -> bytes:
    """Return all that comes until the server closes; a reset counts as a close."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while part := sock.recv(65536):
            data += part
    return data


def converse(address: tuple[str, int] | str, pieces: bytes | Iterable[bytes]) -> bytes:
    """Send the pieces, then a FIN; return all that the server says until it closes."""
    with connect(address) as sock:
        with contextlib.suppress(ConnectionError):
            for piece in [pieces] if isinstance(pieces, bytes) else pieces:
                sock.sendall(piece)
        with contextlib.suppress(OSError):  # the server may have closed, or reset, by now
            sock.shutdown(socket.SHUT_WR)
        return read_to_end(sock)


def statuses(data: bytes) -> list[int]:
    """Return the status codes in what a server said; bodies must not look like status lines."""
    return [int(code) for code in re.findall(rb"HTTP/1\.1 ([1-9][0-9]{2}) ", data)]


def one_by_one(data: bytes) -> list[bytes]:
    """Return the bytes, each a piece of its own."""
    return [data[i : i + 1] for i in range(len(data))]
