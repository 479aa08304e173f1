"""What Tornado has read of a request, as our neutral and validated head of one."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from tornado import httputil

from flasknado.http.client_certificate import variables_of
from flasknado.http.head import KNOWN_NAME_BYTES, parse_head
from flasknado.http.message import Address, RequestHead, as_address
from flasknado.native import tornado_private


def head_of(request: httputil.HTTPServerRequest) -> RequestHead:
    """Return the neutral head of a request that Tornado has read.

    Raises `RequestError` if it is not valid by our reading. On the loop's thread.
    """
    start_line = httputil.RequestStartLine(
        request.method or "", request.uri or "", request.version or ""
    )
    assert request.connection is not None
    head = head_from(start_line, request.headers, request.connection)
    own = getattr(request.connection, "head", None)
    if isinstance(own, RequestHead):
        # As the connection has read it: what trusted proxies say is in it.
        head.client, head.server, head.prefix = own.client, own.server, own.prefix
        head.request_id, head.tls = own.request_id, own.tls
    # What the request itself says is corrected already (Tornado's `xheaders`).
    if request.remote_ip and (head.client is None or head.client[0] != request.remote_ip):
        address = getattr(getattr(request.connection, "context", None), "address", None)
        if isinstance(address, tuple):
            head.client = (request.remote_ip, 0)
    head.scheme = request.protocol or head.scheme
    return head


def head_from(
    start_line: httputil.RequestStartLine,
    headers: httputil.HTTPHeaders,
    connection: httputil.HTTPConnection,
) -> RequestHead:
    """Return the validated head of a request from what Tornado's parser gives.

    Raises `RequestError`. On the loop's thread.
    """
    context: Any = getattr(connection, "context", None)
    fields = [
        (name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.get_all()
    ]
    if any(len(name) > KNOWN_NAME_BYTES for name, _ in fields):
        # Tornado keeps the last thousand names that it has seen, however long.
        tornado_private.forget_names()
    head = parse_head(
        start_line.method,
        start_line.path,
        start_line.version.removeprefix("HTTP/"),
        fields,
        client=as_address(getattr(context, "address", None)),
        server=_local_address(connection),
        scheme=getattr(context, "protocol", "http"),
    )
    if head.scheme == "https":
        stream: Any = getattr(connection, "stream", None)
        local = getattr(stream, "socket", None)
        if isinstance(local, ssl.SSLSocket):
            head.tls = variables_of(local)
    return head


def _local_address(connection: httputil.HTTPConnection) -> Address | None:
    stream: Any = getattr(connection, "stream", None)
    local: socket.socket | None = getattr(stream, "socket", None)
    return as_address(local.getsockname()) if local is not None else None
