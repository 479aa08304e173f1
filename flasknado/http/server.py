"""`HTTPServer`: Tornado's, with a WSGI container and native handlers behind one port.

    server = HTTPServer(WSGIContainer(flask_app), handlers=[(r"/clock", ClockHandler)])
    server.listen(8000)

It takes what `tornado.httpserver.HTTPServer` takes, and more. `http="tornado"` is Tornado's
own connection layer.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from tornado import httputil
from tornado.httpserver import HTTPServer as TornadoHTTPServer

from flasknado.errors import ConfigurationError, RequestError
from flasknado.http.forwarded import TrustedProxies
from flasknado.http.router import NativeRoute, NativeRoutes
from flasknado.http.stock import ContainerDelegate, head_from, refuse
from flasknado.wsgi.container import WSGIContainer

log = logging.getLogger("flasknado.http")

DrainCallback = Callable[[float], Awaitable[None] | None]
CloseCallback = Callable[[], Awaitable[None] | None]

LAYERS = ("tornado",)
DRAIN_POLL_S = 0.05


class HTTPServer(TornadoHTTPServer):
    """Serves ordinary requests by a container and native routes by Tornado's handlers.

    request_callback: a `WSGIContainer`, or what Tornado's `HTTPServer` takes.
    handlers: native routes, as `tornado.web.Application` takes them; they go before the
        container. Handlers find the WSGI application in `self.settings["wsgi_app"]` and
        this server in `self.settings["http_server"]`.
    http: the connection layer, `tornado`.
    trusted_proxies: addresses, CIDR blocks, `unix` or `*` whose `X-Forwarded-*` and
        `X-Request-ID` fields are believed, on both halves.
    settings: more settings for the native handlers.

    All methods belong to the loop's thread.
    """

    def initialize(  # type: ignore[override]
        self,
        request_callback: Any,
        handlers: Iterable[NativeRoute] = (),
        *,
        http: str = "tornado",
        trusted_proxies: Iterable[str] = (),
        settings: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        if http not in LAYERS:
            raise ConfigurationError(
                f"there is no connection layer {http!r}: choose one of {', '.join(LAYERS)}"
            )
        self.container = request_callback if isinstance(request_callback, WSGIContainer) else None
        self.trusted_proxies = TrustedProxies(trusted_proxies)
        self.native = NativeRoutes(
            handlers,
            wsgi_app=self.container.application if self.container else None,
            http_server=self,
            **(settings or {}),
        )
        self.draining = False
        self._drain_callbacks: list[DrainCallback] = []
        self._close_callbacks: list[CloseCallback] = []
        super().initialize(request_callback, **options)

    def add_handlers(self, handlers: Iterable[NativeRoute]) -> None:
        """Add native routes after those that are there."""
        self.native.add(handlers)

    def add_drain_callback(self, callback: DrainCallback) -> None:
        """Have `callback(window_s)` called when draining begins.

        What holds clients open tells them to go, spread over the window. May be a coroutine.
        """
        self._drain_callbacks.append(callback)

    def add_close_callback(self, callback: CloseCallback) -> None:
        """Have `callback()` called at the very end, when no request is left. May be a coroutine."""
        self._close_callbacks.append(callback)

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        """Take a request from a connection of Tornado's own (`HTTPServerConnectionDelegate`)."""
        return _Dispatch(self, server_conn, request_conn)

    def start_request_unrouted(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        """Take a request that is not native as Tornado's own server does."""
        return super().start_request(server_conn, request_conn)

    async def drain(self, timeout_s: float) -> bool:
        """Stop accepting, let what runs finish, close the rest; True if all finished in time.

        Idle connections close at once, the last response on the others says so
        (`Connection: close`), and drain callbacks get the window.
        """
        deadline = time.monotonic() + timeout_s
        self.draining = True
        self.conn_params.no_keep_alive = True
        self.stop()
        await _call_each(self._drain_callbacks, timeout_s)
        quiet_polls = 0
        while quiet_polls < 2 and time.monotonic() < deadline:
            idle = self.container is None or self.container.pool.idle
            quiet_polls = quiet_polls + 1 if idle else 0
            await asyncio.sleep(DRAIN_POLL_S)
        finished = quiet_polls == 2
        if self.container is not None:
            self.container.stop()
        await self.close_all_connections()
        await _call_each(self._close_callbacks)
        return finished


class _Dispatch(httputil.HTTPMessageDelegate):
    """Sends one request of a Tornado connection to its half, once its head is known."""

    def __init__(
        self, server: HTTPServer, server_conn: object, connection: httputil.HTTPConnection
    ) -> None:
        self._server = server
        self._server_conn = server_conn
        self._connection = connection
        self._delegate: httputil.HTTPMessageDelegate | None = None
        self._forwarded = False

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, httputil.RequestStartLine)
        server = self._server
        try:
            head = head_from(start_line, headers, self._connection)
            peer, scheme = head.client, head.scheme
            server.trusted_proxies.apply(head)
        except RequestError as error:
            refuse(self._connection, None, error)
            return None
        if server.native.match(head.path):
            if (head.client, head.scheme) != (peer, scheme):
                self._forward(head.client[0] if head.client else None, head.scheme)
            if head.host is not None:
                headers["Host"] = head.host
            delegate = server.native.application.start_request(self._server_conn, self._connection)
        elif server.container is not None:
            delegate = ContainerDelegate(server.container, self._connection, head)
        else:
            delegate = server.start_request_unrouted(self._server_conn, self._connection)
        self._delegate = delegate
        return delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._delegate.data_received(chunk) if self._delegate is not None else None

    def finish(self) -> None:
        if self._delegate is not None:
            self._delegate.finish()
        self._unforward()

    def on_connection_close(self) -> None:
        if self._delegate is not None:
            self._delegate.on_connection_close()
        self._unforward()

    def _forward(self, address: str | None, scheme: str) -> None:
        """Tell Tornado's request of the client that the proxy forwards for."""
        context: Any = getattr(self._connection, "context", None)
        if context is not None:
            self._forwarded = True
            context.remote_ip = address or context.remote_ip
            context.protocol = scheme

    def _unforward(self) -> None:
        # The context belongs to the connection, and its next request may be another's.
        if self._forwarded:
            context: Any = self._connection.context  # type: ignore[attr-defined]
            context._unapply_xheaders()


async def _call_each(callbacks: Iterable[Callable[..., Any]], *args: float) -> None:
    for callback in callbacks:
        try:
            result = callback(*args)
            if inspect.isawaitable(result):
                await result
        except Exception:
            log.exception("a callback of the server failed: %r", callback)
