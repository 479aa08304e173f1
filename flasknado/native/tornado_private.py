"""Everything of Tornado that is used here and that Tornado calls private.

Tornado may change these names in any release, so they stand in one place, and a Tornado
without one of them fails here, in one sentence, when the package is imported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import tornado
from tornado import httputil

try:
    from tornado.http1connection import _GzipMessageDelegate as GzipMessageDelegate
    from tornado.httpserver import _HTTPRequestContext as HTTPRequestContext
    from tornado.httpserver import _ProxyAdapter as ProxyAdapter
    from tornado.httputil import _normalize_header
    from tornado.web import RequestHandler
    from tornado.web import _HandlerDelegate as HandlerDelegate
    from tornado.web import _has_stream_request_body as streams_body

    httputil.HTTPHeaders()._as_list  # noqa: B018 (is it there?)
    unimplemented: Final = RequestHandler._unimplemented_method
    """What stands for a method that a handler does not have."""
except (ImportError, AttributeError) as error:
    raise ImportError(
        f"Flasknado does not support Tornado {tornado.version} ({error}): "
        f"install a supported release"
    ) from error

if TYPE_CHECKING:
    import socket

    from tornado.httpserver import HTTPServer

__all__ = [
    "GzipMessageDelegate",
    "HTTPRequestContext",
    "HandlerDelegate",
    "ProxyAdapter",
    "streams_body",
]

header_lists: Final[Callable[[httputil.HTTPHeaders], dict[str, list[str]]]] = attrgetter("_as_list")
"""The values of each field, by its name in the case in which Tornado writes it; may be changed."""


class UnparsedRequest(httputil.HTTPServerRequest):
    """A request whose body is not parsed before its handler runs."""

    def _parse_body(self) -> None:
        """Do nothing yet: Tornado calls this first."""

    def parse_body(self) -> None:
        """Parse the form in the body, if it is one; raises `HTTPInputError`."""
        super()._parse_body()


def execution(
    handler: RequestHandler, transforms: list[Any], args: Iterable[Any], kwargs: dict[str, Any]
) -> Any:
    """Return the coroutine that runs a handler."""
    return handler._execute(transforms, *args, **kwargs)


def expect_body(handler: Any) -> None:
    """Have a handler that streams its body say when it is prepared for it."""
    handler._prepared_future = asyncio.Future()


def prepared(handler: RequestHandler) -> Awaitable[None] | None:
    """Return what is done once a handler that streams its body is prepared for it."""
    return handler._prepared_future


def has_finished(handler: RequestHandler) -> bool:
    """Whether a handler has given its response, or left it to somebody else."""
    return handler._finished


def leave_to_another(handler: RequestHandler) -> None:
    """Have a handler send no response: another does, over the same connection."""
    handler._finished = True


def innermost(delegate: Any) -> Any:
    """Return what runs a request, without what Tornado has put around it."""
    while True:
        inner = getattr(delegate, "delegate", None) or getattr(delegate, "_delegate", None)
        if inner is None:
            return delegate
        delegate = inner


def forget_forwarding(context: Any) -> None:
    """Undo what was said of a connection's client for one of its requests."""
    context._unapply_xheaders()


def finished(connection: Any) -> asyncio.Future[None]:
    """Return what is done when Tornado's connection has finished a request."""
    future: asyncio.Future[None] = connection._finish_future
    return future


def status_sent(connection: Any) -> int | None:
    """Return the status that went out on Tornado's connection; `None` before that."""
    start_line = connection._response_start_line
    return None if start_line is None else int(start_line.code)


def end_after_response(connection: Any) -> None:
    """Have Tornado's connection close after the response to its request."""
    if hasattr(connection, "_disconnect_on_finish"):
        connection._disconnect_on_finish = True


def ends_after_response(connection: Any) -> bool:
    """Return whether Tornado's connection closes after the response to its request."""
    return bool(connection._disconnect_on_finish)


def max_body_bytes(connection: Any) -> int:
    """Return the largest body of a request on Tornado's connection."""
    return int(connection._max_body_size)


def has_answered(connection: Any) -> bool:
    """Return whether the response on Tornado's connection is complete."""
    return bool(connection._write_finished)


def forget_names() -> None:
    """Forget the field names that Tornado has seen, however long they are."""
    _normalize_header.cache_clear()


def forget_keep_alive(connection: Any) -> None:
    """Have Tornado's connection answer as if the client had not asked to keep it."""
    fields = getattr(connection, "_request_headers", None)
    if fields is not None:
        fields.pop("Connection", None)


def listening_sockets(server: HTTPServer) -> list[socket.socket]:
    """Return the sockets on which Tornado's server listens."""
    return list(server._sockets.values())


def take_connection(server: HTTPServer, connection: socket.socket, address: Any) -> None:
    """Have Tornado's server serve a connection that was accepted for it."""
    server._handle_connection(connection, address)


def has_connections(server: HTTPServer) -> bool:
    """Return whether a client of Tornado's server is connected."""
    return bool(server._connections)


def written_bytes(stream: Any) -> int:
    """Return how many bytes were given to an `IOStream` so far."""
    return int(stream._total_write_index)
