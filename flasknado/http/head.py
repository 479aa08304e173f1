"""Validating the head of a request, after the parser and before anything acts on it.

Pure: no sockets, no loop. Parsers are lenient in ways that let two servers read the same
bytes differently (request smuggling), so nothing they say is taken on trust. The rules
are those of RFC 9110 and RFC 9112, read strictly; each refusal names its section.
"""

from __future__ import annotations

import re
from typing import Final

from flasknado.errors import RequestError
from flasknado.http.message import Address, HeaderField, RequestHead

_USUAL_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_METHOD: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}\Z")
_BAD_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_BAD_TARGET: Final = re.compile(r"[\x00-\x20\x7f-\xff#]")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._~%-]+|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?\Z")
_ABSOLUTE: Final = re.compile(r"(?i:https?)://([^/?#]*)(/[^?]*)?(?:\?(.*))?\Z", re.DOTALL)
_DIGITS: Final = re.compile(rb"[0-9]{1,18}\Z")
_UNRESERVED: Final = re.compile("%(2[DEde]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])")
_BARE_PERCENT: Final = re.compile("%(?![0-9A-Fa-f]{2})")

_LOOKED_AT: Final = frozenset(
    (b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade")
)

# What has been found valid before needs no second look; bounded in number and in length.
_KNOWN_LIMIT: Final = 1024
KNOWN_NAME_BYTES: Final = 64
"""Longer field names are not kept: the names that matter are short."""
KNOWN_HOST_BYTES: Final = 261
"""The same for hosts: a name of 255 bytes and a port (RFC 1035, section 2.3.4)."""

_known_names: Final[dict[bytes, bytes]] = {}
"""Field names, each with its lower-case form if it concerns the connection, else empty."""
_known_hosts: Final[dict[bytes, str]] = {}


def parse_head(
    method: str,
    target: str,
    version: str,
    headers: list[HeaderField],
    *,
    client: Address | None = None,
    server: Address | None = None,
    scheme: str = "http",
) -> RequestHead:
    """Return the validated head of a request, with its target and framing understood.

    `target` is latin-1 text; `version` is `1.1`-like. Raises `RequestError` with the status
    to refuse with: 400 for what is malformed or ambiguous, 417 for an expectation that
    is unknown, 501 for CONNECT, 505 for a version other than 1.0 and 1.1. May be called
    on any thread.
    """
    if version not in ("1.1", "1.0"):
        raise RequestError(505, f"HTTP/{version} is not supported: use HTTP/1.1")
    if method not in _USUAL_METHODS and _METHOD.match(method) is None:
        raise RequestError(400, "the method is not a token (RFC 9110, section 9.1)")
    if method == "CONNECT":
        raise RequestError(501, "CONNECT is not supported: this is not a proxy (RFC 9110, 9.3.6)")
    head = RequestHead(
        method, target, version, headers, client=client, server=server, scheme=scheme
    )
    _read_fields(head)
    _read_target(head)
    return head


def _read_fields(head: RequestHead) -> None:
    """Check every field and take from them what concerns the connection."""
    host: bytes | None = None
    lengths = 0
    transfer_encoding: bytes | None = None
    connection = b""
    upgrade = False
    for name, value in head.headers:
        lower = _known_names.get(name)
        if lower is None:
            lower = _checked_name(name)
        elif lower == b"host" and host is None and value in _known_hosts:
            host = value
            continue
        # The first test is quick and true of nearly every value.
        if not value.decode("latin-1").isprintable() and _BAD_VALUE.search(value) is not None:
            raise RequestError(
                400, f"the {_shown(name)} header has a control character (RFC 9110, section 5.5)"
            )
        if not lower:
            continue
        if lower == b"host":
            if host is not None:
                raise RequestError(400, "there are two Host headers (RFC 9112, section 3.2)")
            host = value
        elif lower == b"connection":
            connection += b"," + value.lower()
        elif lower == b"content-length":
            lengths += 1
            if lengths > 1 or _DIGITS.match(value) is None:
                raise RequestError(
                    400, "Content-Length must be one decimal number (RFC 9112, section 6.3)"
                )
            head.content_length = int(value)
        elif lower == b"transfer-encoding":
            if transfer_encoding is not None:
                raise RequestError(400, "there are two Transfer-Encoding headers")
            transfer_encoding = value
        elif lower == b"expect":
            if head.version == "1.1":
                if value.lower() != b"100-continue":
                    raise RequestError(417, "100-continue is the only supported expectation")
                head.expect_continue = True
        else:
            upgrade = True
    if transfer_encoding is not None:
        _check_transfer_encoding(head, transfer_encoding)
    if host is not None:
        head.host = _known_hosts.get(host) or _checked_host_field(host)
    elif head.version == "1.1":
        raise RequestError(400, "the Host header is missing (RFC 9112, section 3.2)")
    _read_connection(head, connection, upgrade)


def _checked_name(name: bytes) -> bytes:
    if _TOKEN.match(name) is None:
        raise RequestError(400, "a header name is not a token (RFC 9110, section 5.1)")
    lower = name.lower()
    looked_at = lower if lower in _LOOKED_AT else b""
    if len(name) <= KNOWN_NAME_BYTES and len(_known_names) < _KNOWN_LIMIT:
        _known_names[name] = looked_at
    return looked_at


def _checked_host_field(value: bytes) -> str:
    host = checked_host(value.decode("latin-1"))
    if len(value) <= KNOWN_HOST_BYTES and len(_known_hosts) < _KNOWN_LIMIT:
        _known_hosts[value] = host
    return host


def _check_transfer_encoding(head: RequestHead, value: bytes) -> None:
    if value.lower() != b"chunked":
        raise RequestError(400, "chunked is the only supported transfer coding")
    if head.version == "1.0":
        raise RequestError(
            400, "Transfer-Encoding is not allowed in HTTP/1.0 (RFC 9112, section 6.1)"
        )
    if head.content_length is not None:
        raise RequestError(
            400, "Content-Length and Transfer-Encoding must not be combined (RFC 9112, section 6.1)"
        )
    head.chunked = True


def checked_host(host: str) -> str:
    """Return `host` if it is `host[:port]`; raises `RequestError` (400) if not. Any thread."""
    match = _HOST.match(host)
    if match is None or (match[1] is not None and int(match[1]) > 65535):
        raise RequestError(400, f"the host {_shown(host)} is not host[:port] (RFC 9110, 7.2)")
    return host


def _read_connection(head: RequestHead, connection: bytes, upgrade: bool) -> None:
    head.keep_alive = head.version == "1.1"
    if not connection:
        return
    options = {option.strip() for option in connection.split(b",")}
    if b"close" in options:
        head.keep_alive = False
    elif b"keep-alive" in options:
        head.keep_alive = True
    head.upgrade = upgrade and b"upgrade" in options and head.version == "1.1"


def _read_target(head: RequestHead) -> None:
    """Split the target into path and query (RFC 9112, section 3.2)."""
    target = head.target
    if _BAD_TARGET.search(target) is not None:
        raise RequestError(
            400, "the target has a character that must be percent-encoded (RFC 3986, section 2)"
        )
    if target.startswith("/"):
        if "?" in target:
            head.path, _, head.query = target.partition("?")
    elif target == "*" and head.method == "OPTIONS":
        head.path = "*"
    else:
        absolute = _ABSOLUTE.match(target)
        if absolute is None:
            raise RequestError(
                400, f"the target {_shown(target)} is neither a path nor an http URL"
            )
        head.host = checked_host(absolute[1])
        head.path = absolute[2] or "/"
        head.query = absolute[3] or ""
    if "%" in head.path:
        head.path = _normalized(head.path)


def _normalized(path: str) -> str:
    """Return a path without the encodings that make no difference (RFC 3986, section 6.2.2.2).

    What decides by the path (routes, the mount, limits) would otherwise take `/%7Eann` for
    another one than `/~ann`, and the application would not.
    """
    if _BARE_PERCENT.search(path) is not None:
        return path  # what it means is not known, and decoding next to it could change that
    return _UNRESERVED.sub(_decoded, path)


def _decoded(match: re.Match[str]) -> str:
    return chr(int(match[1], 16))


def _shown(text: str | bytes) -> str:
    """Return a client's text so that it can stand in a message: short, quoted, ASCII."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    return ascii(text[:80])
