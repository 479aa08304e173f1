"""`SocketIO`, the Flask extension: handlers, and emitting.

No Tornado here until a server needs it: a command or another program emits without one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from flask import Flask, current_app, request

from flasknado.errors import ConfigurationError
from flasknado.live.hooks import Hooks
from flasknado.live.state import EXTENSION_KEY as LIVE_KEY
from flasknado.live.state import MEMORY_URL, LiveState
from flasknado.route_providers import provide_routes
from flasknado.socketio.bus import Bus
from flasknado.socketio.emitter import CALL_TIMEOUT_S, Callback, Emitter
from flasknado.socketio.engineio.reason import Reason
from flasknado.socketio.handlers import Handler, Handlers
from flasknado.socketio.namespace import Namespace
from flasknado.socketio.options import SocketIOOptions

if TYPE_CHECKING:
    from flasknado.socketio.core import Core
    from flasknado.socketio.room_names import Room
    from flasknado.socketio.test_client import SocketIOTestClient

HandlerT = TypeVar("HandlerT", bound=Handler)

EXTENSION_KEY = "socketio"
WRONG_SERVER = (
    "Socket.IO needs Flasknado's event loop, and this server has none: run the application with "
    "`flasknado MODULE:APP`, or with socketio.run(app)"
)


class SocketIO:
    """Socket.IO for a Flask application, with Flask-SocketIO's interface.

    Handlers are plain functions. They run on a pool of threads, in a request context of the
    client's, one after the other for each connection; connections are held by the event loop.

    The server finds this object by itself. Processes meet in the database of the application's
    live events (`Live`), or in that of `message_queue`; without either there may be only one.

    Connecting, in Flask-SocketIO's words: `path` or `resource` (default `socket.io`),
    `namespaces` (those that are accepted beside those with handlers; `*` for all),
    `always_connect`, `transports`, `allow_upgrades`, `cookie`, `cors_allowed_origins` (default:
    the application's own policy; `*` takes in every other origin, without its cookies),
    `cors_credentials`. Limits: `ping_interval` (25 s, or a pair with the grace), `ping_timeout`
    (20 s), `max_http_buffer_size` (1,000,000 bytes). Encoding: `json`, `serializer` (`default` or
    `msgpack`), `http_compression` (default: off) and `compression_threshold`. Also
    `message_queue` (the URL of a database), `channel`, `logger`, `engineio_logger`.

    Ours: `durable` (true, or a list of namespaces) has events kept for LIVE_BUFFERED_RETENTION_S,
    and clients recover what they missed; `handler_threads` (16) and `handler_queue` (2,000
    clients) bound the pool. `async_mode`, `async_handlers`, `manage_session` and
    `monitor_clients` are accepted and change nothing.

    Raises `ConfigurationError`. Register handlers before the server starts; emit on any thread.
    """

    server: Emitter
    """Rooms and clients: `enter_room`, `leave_room`, `close_room`, `rooms`, `disconnect`,
    `emit`, `send`, `call`, `transport`, `get_environ`."""
    exception_handlers: dict[str, Callable[[BaseException], Any]]
    """What gets the exceptions of a namespace's handlers."""
    reason = Reason
    async_mode = "flasknado"
    """Flask-SocketIO names its kind of threads here."""

    def __init__(self, app: Flask | None = None, **options: Any) -> None:
        self.app: Flask | None = None
        self._keywords: dict[str, Any] = {}
        self._handlers = Handlers(options.get("namespaces"))
        self.exception_handlers = {}
        self._default_exception_handler: Callable[[BaseException], Any] | None = None
        self._core: Core | None = None
        self._bus: Bus | None = None
        self.server = Emitter(SocketIOOptions(), self._find_bus)
        if app is not None:
            self.init_app(app, **options)
        else:
            self._configure(options)

    def init_app(self, app: Flask | None, **options: Any) -> None:
        """Add Socket.IO to an application; options as for `SocketIO()`.

        Called again, for example by the factory of a test, it begins anew with that application.
        """
        if self.app is not None and app is not self.app:
            self._core = self._bus = None
            self.server = Emitter(self.options, self._find_bus)
        self.app = app
        self._configure(options)
        if app is None:
            return
        app.extensions[EXTENSION_KEY] = self
        provide_routes(app, self._routes)
        path = self.options.path
        app.add_url_rule(
            f"/{path}/", f"socketio:{path}", _wrong_server, methods=["GET", "POST", "OPTIONS"]
        )

    def _configure(self, options: dict[str, Any]) -> None:
        self._keywords |= options
        self.server.options = SocketIOOptions.of(self._keywords, self.app)
        if options.get("namespaces") is not None:
            handlers = Handlers(self.server.options.namespaces)
            handlers.functions, handlers.objects = self._handlers.functions, self._handlers.objects
            self._handlers = handlers

    @property
    def options(self) -> SocketIOOptions:
        """The options, checked."""
        return self.server.options

    # Handlers.

    def on(self, message: str, namespace: str | None = None) -> Callable[[HandlerT], HandlerT]:
        """Register a handler of an event, `connect`, `disconnect`, or every event (`*`)."""

        def register(handler: HandlerT) -> HandlerT:
            self._handlers.add(message, namespace or "/", handler)
            return handler

        return register

    def on_event(self, message: str, handler: Handler, namespace: str | None = None) -> None:
        """Register a handler, without a decorator."""
        self.on(message, namespace)(handler)

    @overload
    def event(self, handler: HandlerT, /) -> HandlerT: ...

    @overload
    def event(self, namespace: str | None = None) -> Callable[[HandlerT], HandlerT]: ...

    def event(self, *args: Any, **kwargs: Any) -> Any:
        """Register a handler for the event of its own name; a decorator, with arguments or not."""
        if len(args) == 1 and not kwargs and callable(args[0]):
            return self.on(args[0].__name__)(args[0])
        return lambda handler: self.on(handler.__name__, *args, **kwargs)(handler)

    def on_namespace(self, namespace_handler: Namespace) -> None:
        """Register the methods of an object as the handlers of its namespace."""
        if not isinstance(namespace_handler, Namespace):
            raise ValueError("Not a namespace instance.")
        namespace_handler._set_socketio(self)
        self._handlers.add_object(namespace_handler)

    def on_error(self, namespace: str | None = None) -> Callable[[HandlerT], HandlerT]:
        """Register a function that gets what handlers of a namespace raise; a decorator."""

        def register(handler: HandlerT) -> HandlerT:
            _check_callable(handler)
            self.exception_handlers[namespace or "/"] = handler
            return handler

        return register

    def on_error_default(self, exception_handler: HandlerT) -> HandlerT:
        """Register a function for the namespaces that have none of their own; a decorator."""
        self.default_exception_handler = exception_handler
        return exception_handler

    @property
    def default_exception_handler(self) -> Callable[[BaseException], Any] | None:
        """What gets the exceptions of handlers whose namespace has no function for them."""
        return self._default_exception_handler

    @default_exception_handler.setter
    def default_exception_handler(self, handler: Callable[[BaseException], Any] | None) -> None:
        if handler is not None:
            _check_callable(handler)
        self._default_exception_handler = handler
        if self._core is not None:
            self._core.default_exception_handler = handler

    def _handle_event(
        self, handler: Handler, message: str | None, _namespace: str, sid: str, *args: Any
    ) -> Any:
        """Call a handler in the request context that it is in; for `Namespace.trigger_event`."""
        client = self.server._of_request(sid, None)
        if client is None:
            raise RuntimeError("events are handled in the context that the server makes for them")
        if message == "connect":
            args = args[1:]
        return self.core.call(handler, message, client, args)

    # Emitting.

    def emit(self, event: str, *args: Any, **kwargs: Any) -> None:
        """Emit an event to clients in all processes; on any thread, with no context needed.

        Each argument is anything that JSON can say, with `bytes` anywhere in it; a tuple is
        several arguments. Keywords: `namespace` (default `/`); `to` (or `room`): a room, a client's
        `sid`, or a list of them (default: everybody in the namespace); `skip_sid`, and
        `include_self=False`: who is left out; `callback(*answer)`: called for each client that
        acknowledges, as a handler in its context, or for a client of another process in an
        application context; `durable`: whether clients that are away for a
        moment get it when they return (default: as `SocketIO(durable=...)` says).

        An event that is not durable reaches who is connected now. To this process's clients it
        goes at once, and in order; to those of others through the log, once for all. Raises
        `TypeError` or `ValueError` for what JSON cannot say, and `BacklogFull`.
        """
        kwargs.pop("ignore_queue", None)
        kwargs.pop("broadcast", None)
        to = kwargs.pop("to", None) or kwargs.pop("room", None)
        kwargs.pop("room", None)
        if not kwargs.pop("include_self", True) and not kwargs.get("skip_sid"):
            kwargs["skip_sid"] = request.sid  # type: ignore[attr-defined]
        self.server.emit(event, *args, to=to, **kwargs)

    def send(
        self,
        data: Any,
        json: bool = False,
        namespace: str | None = None,
        to: Any = None,
        callback: Callback | None = None,
        include_self: bool = True,
        skip_sid: Any = None,
        **kwargs: Any,
    ) -> None:
        """Emit a `message` event, or with `json` a `json` event; see `emit`."""
        self.emit(
            "json" if json else "message",
            data,
            namespace=namespace,
            to=to,
            callback=callback,
            include_self=include_self,
            skip_sid=skip_sid,
            **kwargs,
        )

    def call(self, event: str, *args: Any, **kwargs: Any) -> Any:
        """Emit an event to one client, and return its answer.

        Keywords as for `emit`, and `timeout` in seconds (default 60), after which it raises
        `CallTimeout`. Not on an event loop's thread.
        """
        kwargs.pop("ignore_queue", None)
        to = kwargs.pop("to", None) or kwargs.pop("room", None)
        kwargs.setdefault("timeout", CALL_TIMEOUT_S)
        return self.server.call(event, *args, to=to, **kwargs)

    def close_room(self, room: Room, namespace: str | None = None) -> None:
        """Take everybody out of a room, in all processes."""
        self.server.close_room(room, namespace)

    # Running.

    def run(
        self, app: Flask, host: str | None = None, port: int | None = None, **options: Any
    ) -> None:
        """Serve the application until it is stopped, in this process; on the main thread.

        `host` and `port` as in `Flask.run` (default 127.0.0.1:5000). Of Flask-SocketIO's other
        options, `debug` sets the application's debug mode, `use_reloader` (default: in debug mode),
        `reloader_options` and `extra_files` are for Werkzeug's reloader, `log_output` is for the
        access log, and `allow_unsafe_werkzeug` changes nothing. `flasknado MODULE:APP` has several
        workers, restarts without loss, and settings. Raises `ConfigurationError`, `AddressTaken`.
        """
        from flasknado.socketio.serving import serve

        serve(app, host, port, **options)

    def stop(self) -> None:
        """Stop the server that `run()` has started; on any thread."""
        from flasknado.socketio.serving import stop

        stop()

    def start_background_task(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a function on a daemon thread of its own, without a context; returns the thread."""
        return self.server.start_background_task(target, *args, **kwargs)

    def sleep(self, seconds: float = 0) -> None:
        """Sleep for so many seconds; not on the event loop's thread."""
        self.server.sleep(seconds)

    def test_client(
        self,
        app: Flask,
        namespace: str | None = None,
        query_string: str | None = None,
        headers: dict[str, str] | None = None,
        auth: Any = None,
        flask_test_client: Any = None,
    ) -> SocketIOTestClient:
        """Return a client for tests, which needs no server; as in Flask-SocketIO."""
        from flasknado.socketio.test_client import SocketIOTestClient

        return SocketIOTestClient(
            app,
            self,
            namespace=namespace,
            query_string=query_string,
            headers=headers,
            auth=auth,
            flask_test_client=flask_test_client,
        )

    # What the server needs.

    @property
    def core(self) -> Core:
        """What calls the handlers; raises `ConfigurationError` without an application."""
        if self._core is None:
            if self.app is None:
                raise ConfigurationError("SocketIO has no application: call init_app(app)")
            from flasknado.socketio.core import Core

            core = Core(self.app, self._handlers, self.options.parser, self.state.hooks)
            core.always_connect = self.options.always_connect
            core.exception_handlers = self.exception_handlers
            core.default_exception_handler = self.default_exception_handler
            self._core = core
        return self._core

    @property
    def state(self) -> LiveState:
        """What keeps the log through which processes meet."""
        return self._find_bus().state

    def _find_bus(self) -> Bus:
        if self._bus is None:
            self._bus = Bus(self._find_state(), self.options.channel)
        return self._bus

    def _find_state(self) -> LiveState:
        url = self.options.log_url
        if self.app is not None and url is None:
            state = self.app.extensions.get(LIVE_KEY)
            if isinstance(state, LiveState):
                return state
        app = Flask(__name__) if self.app is None else self.app
        return LiveState(app, Hooks(), lambda _: None, None, url or MEMORY_URL)

    def _routes(self, http_server: Any) -> list[Any]:
        from flasknado.socketio.endpoint import routes

        return routes(self, http_server)


def _check_callable(handler: Any) -> None:
    if not callable(handler):
        raise ValueError("exception_handler must be callable")


def _wrong_server() -> Any:
    """Answer a client under a server that has no event loop for it."""
    current_app.logger.error(WRONG_SERVER)
    return {"code": 3, "message": WRONG_SERVER}, 501
