"""`HTTPServer`: Tornado's, with a WSGI container and native handlers behind one port.

    server = HTTPServer(WSGIContainer(flask_app), handlers=[(r"/clock", ClockHandler)])
    server.listen(8000)

It takes what `tornado.httpserver.HTTPServer` takes, and more. There are two connection
layers behind one interface: `http="llhttp"`, which is `flasknado.http.connection`, and
`http="tornado"`, which is Tornado's own.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tornado import httputil
from tornado.httpserver import HTTPServer as TornadoHTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import ssl_options_to_context

from flasknado.errors import ConfigurationError
from flasknado.flask_apps import flask_apps_of
from flasknado.http.admit import FrontDoor, RequestIds
from flasknado.http.body_limits import DEFAULT_MAX_BODY_BYTES, BodyLimits
from flasknado.http.counters import Counters, ResponseHook
from flasknado.http.forwarded import DEFAULT_FIELDS, SECURE_SCHEMES, TrustedProxies
from flasknado.http.hosts import TrustedHosts
from flasknado.http.limits import Limits
from flasknado.http.listeners import Listeners, accept_waiting
from flasknado.http.mailbox import mailbox_of
from flasknado.http.memory import MemoryBudget, default_limit_bytes
from flasknado.http.message import RequestHead
from flasknado.http.reply import Container
from flasknado.http.tls import TLSAcceptor
from flasknado.native import tornado_private
from flasknado.native.application import HandlerDelegate
from flasknado.native.direct import DirectExchange, may_serve
from flasknado.native.exchange import NativeExchange, context_of
from flasknado.native.iostream import TransportStream
from flasknado.native.mount import mounted
from flasknado.native.routes import NativeRoute, NativeRoutes
from flasknado.route_providers import provided_routes
from flasknado.static.files import StaticFiles
from flasknado.stock.dispatch import Dispatch
from flasknado.stock.handlers import StockHandlerDelegate
from flasknado.wsgi.container import ApplicationContainer
from flasknado.wsgi.exchange import OrdinaryExchange
from flasknado.wsgi.handoff import SERVER_KEY

if TYPE_CHECKING:
    from flasknado.http.connection import Connection
    from flasknado.http.shared import Shared

log = logging.getLogger("flasknado.http")

DrainCallback = Callable[[float], Awaitable[None] | None]
CloseCallback = Callable[[], Awaitable[None] | None]

LLHTTP = "llhttp"
TORNADO = "tornado"
LAYERS = (LLHTTP, TORNADO)
DRAIN_POLL_S = 0.05

CLOSE_S = 2.0
"""How long all close callbacks that are coroutines may take together."""

DRAIN_LINGER_S = 1.0
"""How long a draining server awaits the next request of connections that are open and silent.

Its answer says that it is the last, so that the client need not find out by losing one.
"""


def default_layer() -> str:
    """Return the connection layer used where none is named: llhttp if its parser is installed."""
    return LLHTTP if _has_llhttp() else TORNADO


class HTTPServer(TornadoHTTPServer):
    """Serves ordinary requests with a WSGI container and native routes with Tornado handlers.

    request_callback: a `WSGIContainer`, or what Tornado's `HTTPServer` takes.
    handlers: native routes, as `tornado.web.Application` takes them. They are matched before
        the container and, like the application, lie below its mount. Handlers find the WSGI
        application in `self.settings["wsgi_app"]` and this server in
        `self.settings["http_server"]`.
    static: folders of files by path prefix, such as `{"/static": "web/static"}`, below the mount.
        They are answered on the event loop, without the container; native handlers go before them.
    http: the connection layer, `llhttp` or `tornado`; default: `default_layer()`.
    limits: the limits of each connection (`Limits`). On the `tornado` layer only those apply
        that Tornado has an option for, and those of bodies. Tornado's own options
        `max_header_size` and `idle_connection_timeout` override them; `max_body_size` limits
        what native handlers collect in memory.
    trusted_proxies: addresses, CIDR blocks, `unix` or `*` of proxies to trust, for views and
        native handlers, for what `trusted_fields` names.
    trusted_fields: what they are trusted for: `proto` (the default), `for`, `host`, `port`,
        `prefix`, `request-id`, `client-cert`, `forwarded`.
    secure_schemes: the header fields that give the scheme, each with its value for https.
        Default: `X-Forwarded-Proto`.
    trusted_hosts: the hosts to serve, such as `example.com`, or `.example.com` to include
        subdomains; other hosts get 400. Default: every host.
    settings: further settings for the native handlers.

    `counters` has the server's counters, and `on_response` may be set to a hook. Call all methods
    on the event loop's thread. Raises `ConfigurationError`.
    """

    def initialize(  # type: ignore[override]
        self,
        request_callback: Any,
        handlers: Iterable[NativeRoute] = (),
        *,
        static: Mapping[str, str | Path] | None = None,
        http: str | None = None,
        limits: Limits | None = None,
        trusted_proxies: Iterable[str] = (),
        trusted_fields: Iterable[str] = DEFAULT_FIELDS,
        secure_schemes: Mapping[str, str] = SECURE_SCHEMES,
        trusted_hosts: Iterable[str] = (),
        settings: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.layer = http or default_layer()
        if self.layer not in LAYERS:
            raise ConfigurationError(
                f"unknown connection layer {http!r}: choose from {', '.join(LAYERS)}"
            )
        if self.layer == LLHTTP and not _has_llhttp():
            raise ConfigurationError(
                "the connection layer 'llhttp' needs httptools: install it, or choose 'tornado'"
            )
        self.container = (
            request_callback if isinstance(request_callback, ApplicationContainer) else None
        )
        self.request_ids = self.container.request_ids if self.container else RequestIds()
        if self.container is not None:
            self.container.base_environ[SERVER_KEY] = self
        self.limits = _limits_with_options(limits or Limits(), options)
        self.budget = MemoryBudget(self.limits.memory_limit_bytes or default_limit_bytes())
        self.body_limits = _body_limits(self.limits, self.container, options)
        if self.container is not None:
            self.container.body_limits = self.body_limits
        self.ordinary: Container | None = self.container
        """What takes ordinary requests from connections."""
        self.trusted_proxies = TrustedProxies(trusted_proxies, trusted_fields, secure_schemes)
        self.trusted_hosts = TrustedHosts(trusted_hosts)
        self.counters = Counters()
        self._mount = self.container.mount if self.container else ""
        self.native = NativeRoutes(
            mounted(handlers, self._mount),
            wsgi_app=self.container.application if self.container else None,
            http_server=self,
            delegate_class=StockHandlerDelegate if self.layer == TORNADO else HandlerDelegate,
            **(settings or {}),
        )
        self.door = FrontDoor(
            self.native,
            has_container=self.container is not None,
            request_ids=self.request_ids,
            budget=self.budget,
            trusted_proxies=self.trusted_proxies,
            trusted_hosts=self.trusted_hosts,
        )
        self.draining = False
        self._on_response: ResponseHook | None = None
        self._drain_callbacks: list[DrainCallback] = []
        self._close_callbacks: list[CloseCallback] = []
        if self.container is not None:
            app = next(flask_apps_of(self.container.application), None)
            if app is not None:
                self.native.add(mounted(provided_routes(app, self), self._mount))
            self.add_drain_callback(self.container.begin_drain)
            self.add_drain_callback(self.container.end_sockets)
            self.add_close_callback(self.container.loop_host.ended)
        if static:
            if self.container is None:
                raise ConfigurationError("static needs a WSGIContainer: pass one")
            files = StaticFiles(static, self.container, self._mount)
            self.ordinary = files
            self.add_close_callback(files.close)
        self._shared: Shared | None = None
        self._listeners: Listeners | None = None
        self._ask_handlers("check_server")
        super().initialize(request_callback, **options)

    @property
    def on_response(self) -> ResponseHook | None:
        """A hook called with a `Finished` once for each finished exchange, or `None`.

        On the loop's thread, so it must not block.
        """
        return self._on_response

    @on_response.setter
    def on_response(self, hook: ResponseHook | None) -> None:
        hooks = self.counters.hooks
        if self._on_response is not None:
            hooks.remove(self._on_response)
        if hook is not None:
            hooks.append(hook)
        self._on_response = hook

    def add_handlers(self, handlers: Iterable[NativeRoute]) -> None:
        """Add native routes, below the mount, after the existing ones."""
        self.native.add(mounted(handlers, self._mount))
        self._ask_handlers("check_server")

    def _ask_handlers(self, name: str) -> None:
        """Call a class method of every kind of handler that has it, such as those of live events.

        `check_server(server)` raises `ConfigurationError` for what it cannot work with, and
        `begin_serving(server)` is called on the loop once the server listens.
        """
        for kind in dict.fromkeys(spec.handler_class for spec in self.native.specs):
            method = getattr(kind, name, None)
            if method is not None:
                method(self)

    def _begin_serving(self) -> None:
        if not self.draining:
            self._ask_handlers("begin_serving")
            if self.container is not None and self.container.front is not None:
                self.container.front.begin()

    def add_drain_callback(self, callback: DrainCallback) -> None:
        """Call `callback(window_s)` when draining begins. May be a coroutine function.

        Use it to send long-lived clients away, spread over the window.
        """
        self._drain_callbacks.append(callback)

    def add_close_callback(self, callback: CloseCallback) -> None:
        """Call `callback()` at the end, when no request is left. May be a coroutine function."""
        self._close_callbacks.append(callback)

    # Listening. On the tornado layer all of it is Tornado's.

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Accept connections on bound sockets, TCP or Unix."""
        if self.container is not None:
            self.container.begin(_current_loop())
        IOLoop.current().add_callback(self._begin_serving)
        if self.layer == TORNADO:
            super().add_sockets(sockets)
            return
        if self._listeners is None:
            self._listeners = self._make_listeners()
        self._listeners.add(sockets)

    def stop(self) -> None:
        """Stop accepting connections, except pending ones; open connections stay open."""
        if self.layer == TORNADO:
            for sock in tornado_private.listening_sockets(self):
                for connection, address in accept_waiting(sock):
                    tornado_private.take_connection(self, connection, address)
            super().stop()
        elif self._listeners is not None:
            self._listeners.close()

    async def close_all_connections(self) -> None:
        """Abort all connections except those that a native handler has detached."""
        await super().close_all_connections()
        if self._shared is not None:
            # Again and again: a TLS handshake that ends meanwhile makes one more.
            while self._shared.connections or self._shared.taken:
                self._shared.close_connections()
                await asyncio.sleep(0)

    def _make_listeners(self) -> Listeners:
        from flasknado.http.connection import Connection
        from flasknado.http.shared import Shared

        container, ordinary = self.container, self.ordinary
        loop = _current_loop()
        shared = self._shared = Shared(
            loop,
            mailbox_of(loop),
            self.limits,
            self.counters,
            door=self.door,
            open_ordinary=(
                self._native_exchange
                if ordinary is None
                else partial(OrdinaryExchange, container=ordinary)
            ),
            open_native=self._native_exchange,
            open_stream=TransportStream.over,
            requests_waiting=lambda: container.held_up if container is not None else 0,
            budget=self.budget,
            protocol=self.protocol,
            keep_alive=not self.conn_params.no_keep_alive,
        )
        if self.ssl_options is None:
            return Listeners(loop, lambda: Connection(shared))
        acceptor = TLSAcceptor(
            loop,
            lambda: Connection(shared),
            ssl_options_to_context(self.ssl_options, server_side=True),
            self.counters,
            max_connections=self.limits.max_connections,
            timeout_s=self.limits.header_timeout_s,
        )
        return Listeners(loop, lambda: Connection(shared), acceptor)

    def _native_exchange(
        self, connection: Connection, head: RequestHead
    ) -> NativeExchange | DirectExchange:
        serve_direct = getattr(head.native, "serve_direct", None)
        if serve_direct is not None and not self.xheaders:
            settings = self.native.application.settings
            serve = serve_direct(settings, head) if may_serve(head, settings) else None
            if serve is not None:
                return DirectExchange(connection, head, serve, settings)
        context = connection.context
        if context is None:
            context = connection.context = context_of(
                connection, self.protocol, self.trusted_downstream
            )
        if self.trusted_proxies:
            address = head.client[0] if head.client is not None else context.remote_ip
            scheme = head.scheme
            if (address, scheme) != (context.remote_ip, context.protocol):
                context = context.forwarding(address, scheme)
        start = self.start_native if head.native is not None else self.start_request_unrouted
        limit_bytes = self.body_limits.limit_bytes(head.method, head.path)
        return NativeExchange(connection, head, self.conn_params, context, start, limit_bytes)

    # Requests.

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        """Take a request from a connection of Tornado's own (`HTTPServerConnectionDelegate`)."""
        return Dispatch(self, server_conn, request_conn)

    def start_request_unrouted(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        """Take a request that is not native as Tornado's own server does."""
        return super().start_request(server_conn, request_conn)

    def start_native(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        """Take a native request."""
        delegate = self.native.application.start_request(server_conn, request_conn)
        return tornado_private.ProxyAdapter(delegate, request_conn) if self.xheaders else delegate

    async def drain(self, timeout_s: float, *, close_idle: bool = False) -> bool:
        """Stop accepting, finish running requests, close the rest; True if all finished in time.

        From now on every response closes its connection (`Connection: close`); idle connections
        have `DRAIN_LINGER_S` to send one more request; with `close_idle` (llhttp) those that have
        had one are closed at once. Requests that still wait for a thread at the end get 503. Drain
        callbacks get the window. Connections that native handlers have detached (WebSocket) are not
        waited for: whoever detached them closes them.
        """
        began = time.monotonic()
        deadline = began + timeout_s
        self.draining = True
        self.conn_params.no_keep_alive = True
        self.stop()
        if self._shared is not None:
            self._shared.keep_alive = False
            if close_idle:
                self._shared.close_idle()
        await _call_each(self._drain_callbacks, timeout_s, limit_s=timeout_s)
        quiet_polls = 0
        while quiet_polls < 2 and time.monotonic() < deadline:
            lingers = time.monotonic() < began + DRAIN_LINGER_S
            quiet_polls = quiet_polls + 1 if self._is_quiet(lingers) else 0
            await asyncio.sleep(DRAIN_POLL_S)
        finished = quiet_polls == 2
        if self.container is not None:
            if self.container.shed_waiting():
                # Refusals are handed to the loop, and need a turn of it to be written.
                await asyncio.sleep(DRAIN_POLL_S)
            self.container.stop()
        await self.close_all_connections()
        await _call_each(self._close_callbacks, limit_s=CLOSE_S)
        return finished

    def _is_quiet(self, lingers: bool) -> bool:
        """Whether nobody loses anything by the end; while it lingers, only if nobody is there."""
        if self.counters.in_flight or not (self.container is None or self.container.idle):
            return False
        if self._shared is not None:
            shared = self._shared
            return not (shared.taken or (shared.connections if lingers else shared.owes_bytes))
        return not (lingers and tornado_private.has_connections(self))


async def _call_each(callbacks: Iterable[Callable[..., Any]], *args: float, limit_s: float) -> None:
    """Call all, one after the other; those that are coroutines have `limit_s` together."""
    ends_at = time.monotonic() + limit_s
    for callback in callbacks:
        try:
            result = callback(*args)
            if inspect.isawaitable(result):
                await asyncio.wait_for(result, max(0.0, ends_at - time.monotonic()))
        except TimeoutError:
            log.error("a server callback did not finish in time: %r", callback)
        except Exception:
            log.exception("a server callback failed: %r", callback)


def _current_loop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = IOLoop.current().asyncio_loop  # type: ignore[attr-defined]
    return loop


def _has_llhttp() -> bool:
    return importlib.util.find_spec("httptools") is not None


def _body_limits(
    limits: Limits, container: ApplicationContainer | None, options: dict[str, Any]
) -> BodyLimits:
    """Return the limits of bodies on both halves: the server's own, then the container's."""
    default: int | str = DEFAULT_MAX_BODY_BYTES
    rules: dict[str, int | str] = {}
    tornado_bytes = options.get("max_body_size")
    if container is not None:
        default = container.body_limits.default_bytes
        rules |= container.body_limits.rules
    elif tornado_bytes is not None:
        default = tornado_bytes
    if limits.max_body_bytes is not None:
        default = limits.max_body_bytes
    return BodyLimits(default, rules | dict(limits.body_limits or {}), gathered=tornado_bytes)


def _limits_with_options(limits: Limits, options: dict[str, Any]) -> Limits:
    """Return the limits with Tornado's options in them."""
    head_bytes = options.get("max_header_size")
    if head_bytes:
        limits = replace(limits, max_head_bytes=head_bytes)
    idle_s = options.get("idle_connection_timeout")
    if idle_s:
        limits = replace(limits, header_timeout_s=idle_s, keep_alive_timeout_s=idle_s)
    return limits
