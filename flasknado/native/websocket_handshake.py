"""The opening handshake of WebSocket (RFC 6455, section 4.2), from a Tornado handler.

The handler checks, answers 101 and gives up its connection; what stays is the stream.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from typing import Any, cast

from tornado import httputil
from tornado.iostream import IOStream
from tornado.web import RequestHandler

from flasknado.errors import FlasknadoError
from flasknado.http.message import SERVER_SOFTWARE
from flasknado.native.iostream import TransportStream

VERSION = "13"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES = 16
_WINDOW_BITS = tuple(map(str, range(8, 16)))


class HandshakeError(FlasknadoError):
    """The request does not open a WebSocket; `status` is the answer, `headers` belong to it."""

    def __init__(self, status: int, message: str, headers: dict[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


def check(request: httputil.HTTPServerRequest) -> None:
    """Raise `HandshakeError` if a request does not open a WebSocket (section 4.2.1)."""
    headers = request.headers
    upgrade = {part.strip().lower() for part in headers.get("Upgrade", "").split(",")}
    connection = {part.strip().lower() for part in headers.get("Connection", "").split(",")}
    if request.method != "GET" or "websocket" not in upgrade or "upgrade" not in connection:
        raise HandshakeError(
            426,
            "this endpoint needs a WebSocket handshake",
            {"Upgrade": "websocket", "Connection": "Upgrade"},
        )
    if headers.get("Sec-WebSocket-Version") != VERSION:
        raise HandshakeError(
            426,
            f"Sec-WebSocket-Version must be {VERSION}",
            {"Upgrade": "websocket", "Sec-WebSocket-Version": VERSION},
        )
    if not is_key(headers.get("Sec-WebSocket-Key", "")):
        raise HandshakeError(400, "Sec-WebSocket-Key must be 16 bytes in base64", {})


def is_key(key: str | bytes) -> bool:
    """Return whether a client's key is 16 bytes in base64 (section 4.1)."""
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def accept_key(key: str) -> str:
    """Return `Sec-WebSocket-Accept` for a client's key (section 4.2.2)."""
    digest = hashlib.sha1(key.encode() + _GUID).digest()
    return binascii.b2a_base64(digest, newline=False).decode()


def accept_fields(key: str) -> list[tuple[str, str]]:
    """Return the header fields of the 101 that accepts a client's key (section 4.2.2)."""
    return [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept_key(key)),
    ]


def permessage_deflate(request: httputil.HTTPServerRequest) -> str | None:
    """Return the answer to a client that offers compression without context takeover.

    RFC 7692, section 7.1. `None` if it offers none that we have: windows of 32 KiB, each message
    compressed by itself in both directions.
    """
    for offer in request.headers.get("Sec-WebSocket-Extensions", "").split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        if name == "permessage-deflate" and all(map(_is_taken, parameters)):
            return f"{name}; server_no_context_takeover; client_no_context_takeover"
    return None


def _is_taken(parameter: str) -> bool:
    name, _, value = (part.strip() for part in parameter.partition("="))
    if name in ("server_no_context_takeover", "client_no_context_takeover"):
        return not value
    if name == "client_max_window_bits":  # how little it may use, if we ask for that
        return value.strip('"') in ("", *_WINDOW_BITS)
    return name == "server_max_window_bits" and value.strip('"') == "15"


def accept(
    handler: RequestHandler, extensions: str | None = None, first: bytes | None = None
) -> IOStream:
    """Answer 101 to a request that was checked, and return its connection as a stream.

    `extensions` are those that the client has offered and that are used; `first` are frames
    that are written with the answer.

    On the loop's thread. Raises `StreamClosedError` if the client has gone.
    """
    request = handler.request
    fields = httputil.HTTPHeaders()
    for name, value in accept_fields(request.headers["Sec-WebSocket-Key"]):
        fields[name] = value
    if extensions is not None:
        fields["Sec-WebSocket-Extensions"] = extensions
    fields["Server"] = SERVER_SOFTWARE
    fields["Date"] = httputil.format_timestamp(time.time())
    start_line = httputil.ResponseStartLine("HTTP/1.1", 101, "Switching Protocols")
    connection: Any = request.connection
    connection.write_headers(start_line, fields, first)
    detached: IOStream | TransportStream = handler.detach()
    if isinstance(detached, TransportStream):
        detached.watch = None  # the codec counts the frames itself
    stream = cast(IOStream, detached)
    stream.set_nodelay(True)
    return stream
