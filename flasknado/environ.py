"""The WSGI environ of a request (PEP 3333). Pure: no Tornado, no asyncio, no sockets.

What is the same for every request of a server is in one dictionary, copied; the names
of header fields are turned into environ keys once each.
"""

from __future__ import annotations

import io
import sys
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from flasknado.error_stream import ErrorStream
from flasknado.http.head import KNOWN_NAME_BYTES
from flasknado.http.message import SERVER_SOFTWARE, Body, RequestHead

_BytesIO: Final = io.BytesIO

REQUEST_ID_KEY: Final = "flasknado.request_id"
"""The environ key of the request's id."""

_KEYS_LIMIT: Final = 2048

_keys: Final[dict[bytes, str | None]] = {
    b"Content-Type": "CONTENT_TYPE",
    b"Content-Length": None,
    b"Transfer-Encoding": None,
    b"Host": None,
}
_EVERY_REQUEST: Final = (
    "REQUEST_METHOD",
    "PATH_INFO",
    "QUERY_STRING",
    "REQUEST_URI",
    "RAW_URI",
    "SERVER_PROTOCOL",
    "wsgi.url_scheme",
    "wsgi.input",
    REQUEST_ID_KEY,
    "REMOTE_ADDR",
    "SERVER_NAME",
    "SERVER_PORT",
)
_default_ports: Final = {"http": "80", "https": "443"}


def base_environ(*, multiprocess: bool = False, mount: str = "") -> dict[str, Any]:
    """Return what is the same in every environ of a server; `mount` is the path prefix.

    The keys that every request sets are there already, so that the copy has room for them,
    and those that are nearly always the same have that value.
    """
    environ: dict[str, Any] = {
        "SCRIPT_NAME": mount,
        "SERVER_SOFTWARE": SERVER_SOFTWARE,
        "GATEWAY_INTERFACE": "CGI/1.1",
        "wsgi.version": (1, 0),
        "wsgi.errors": sys.stderr if sys.stderr is not None else ErrorStream(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    environ |= dict.fromkeys(_EVERY_REQUEST, "")
    environ["SERVER_PROTOCOL"] = "HTTP/1.1"
    environ["wsgi.url_scheme"] = "http"
    return environ


def build_environ(head: RequestHead, body: Body | None, base: dict[str, Any]) -> dict[str, Any]:
    """Return the environ of one request. May be called on any thread.

    Field values are latin-1 text ("bytes-as-unicode", PEP 3333). Fields of the same name
    are joined by commas, `Cookie` by semicolons (RFC 9110, section 5.3; RFC 9113, section
    8.2.3). Names with underscores are dropped: they would pass for those with hyphens. A
    chunked body has arrived whole, so it is announced by its length (RFC 9112, section 7.1.3).
    `body` is `None` for a request that has none.
    """
    environ = base.copy()
    path = head.path
    mount = environ["SCRIPT_NAME"]
    if mount:
        path = path[len(mount) :]
    if head.prefix:
        environ["SCRIPT_NAME"] = head.prefix + mount
    environ["REQUEST_METHOD"] = head.method
    environ["PATH_INFO"] = (
        unquote_to_bytes(path.encode("latin-1")).decode("latin-1") if "%" in path else path
    )
    if head.query:
        environ["QUERY_STRING"] = head.query
    environ["REQUEST_URI"] = environ["RAW_URI"] = head.target
    if head.version != "1.1":
        environ["SERVER_PROTOCOL"] = "HTTP/" + head.version
    if head.scheme != "http":
        environ["wsgi.url_scheme"] = head.scheme
    environ["wsgi.input"] = body.stream if body is not None else _BytesIO()
    environ[REQUEST_ID_KEY] = head.request_id
    _add_addresses(environ, head)
    if head.tls is not None:
        environ.update(head.tls)
    if head.host is not None:
        environ["HTTP_HOST"] = head.host
    if head.chunked:
        environ["CONTENT_LENGTH"] = str(body.length_bytes if body is not None else 0)
    elif head.content_length is not None:
        environ["CONTENT_LENGTH"] = str(head.content_length)
    keys = _keys
    for name, value in head.headers:
        try:
            key = keys[name]
        except KeyError:
            key = _learn(name)
        if key is None:
            continue
        if key in environ:
            separator = "; " if key == "HTTP_COOKIE" else ","
            environ[key] = environ[key] + separator + value.decode("latin-1")
        else:
            environ[key] = value.decode("latin-1")
    return environ


def _add_addresses(environ: dict[str, Any], head: RequestHead) -> None:
    if head.client is not None:
        environ["REMOTE_ADDR"] = head.client[0]
        environ["REMOTE_PORT"] = str(head.client[1])
    else:
        environ["REMOTE_ADDR"] = ""
    if head.server is not None:
        environ["SERVER_NAME"] = head.server[0]
        environ["SERVER_PORT"] = str(head.server[1])
    else:
        # On a Unix socket only the client can say what it asked for.
        name, _, port = (head.host or "localhost").rpartition(":")
        if not port.isdigit():
            name, port = head.host or "localhost", _default_ports.get(head.scheme, "80")
        environ["SERVER_NAME"] = name
        environ["SERVER_PORT"] = port


def _learn(name: bytes) -> str | None:
    """Return the environ key of a field name, or `None` if the field is left out."""
    lower = name.lower()
    if b"_" in name or lower in (b"content-length", b"transfer-encoding", b"host"):
        key = None
    elif lower == b"content-type":
        key = "CONTENT_TYPE"
    else:
        key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
    if len(name) <= KNOWN_NAME_BYTES and len(_keys) < _KEYS_LIMIT:
        _keys[name] = key
    return key
