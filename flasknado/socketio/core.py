"""What an application does for its Socket.IO clients: the jobs, on the threads of the lane."""

from __future__ import annotations

import builtins
import functools
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from flask import Flask

from flasknado.live.hooks import Hooks, identify
from flasknado.live.tickets import NOBODY, Access, Identity
from flasknado.native.in_flask import Caller, environ_of
from flasknado.native.stack import Refused
from flasknado.socketio import calls, errors, packet
from flasknado.socketio.client import Client, Connection, Job, JobKind
from flasknado.socketio.handlers import CONNECT, DISCONNECT, NOT_HANDLED, Handlers, call_optional
from flasknado.socketio.message import Message
from flasknado.socketio.packet import Packet, Parser

log = logging.getLogger("flasknado.socketio")

ErrorHandler = Callable[[BaseException], Any]

REFUSED: dict[str, Any] = errors.ConnectionRefusedError().error_args
FAILED: dict[str, Any] = {"message": "the application failed; the error has been logged"}


class TestCaller:
    """Who connects in a test: an environ, and the application."""

    __test__ = False

    def __init__(self, environ: dict[str, Any], app: Flask) -> None:
        self.environ = environ
        self.settings = {"wsgi_app": app}


class Core:
    """The handlers of one `SocketIO`, and how they are called. Its methods run on any thread."""

    def __init__(self, app: Flask, handlers: Handlers, parser: Parser, hooks: Hooks) -> None:
        self.app = app
        self.handlers = handlers
        self.parser = parser
        self.hooks = hooks
        """Those of the application's live events: who asks."""
        self.always_connect = False
        self.exception_handlers: dict[str, ErrorHandler] = {}
        self.default_exception_handler: ErrorHandler | None = None

    def asks(self, namespace: str, event: str) -> bool:
        """Return whether anything is to be done for a `connect` or `disconnect`."""
        return (
            self.handlers.find(namespace, event) is not None
            or self.handlers.find_object(namespace) is not None
            or (event == CONNECT and identify(self.hooks))
        )

    def handle(self, connection: Connection, jobs: Iterator[Job]) -> None:
        """Do the jobs of a client, one after the other."""
        caller: Caller | TestCaller = connection.link.caller
        environ: dict[str, Any] | None = None
        for job in jobs:
            try:
                if environ is None:
                    environ = (
                        caller.environ if isinstance(caller, TestCaller) else environ_of(caller)
                    )
                self._do(job, calls.environ_with_cookies(environ, connection))
            except Refused as refusal:
                # Of middleware around the application, which answers by itself.
                self._failed(job, {"message": refusal.message})
            except BaseException:  # also what would end a thread, such as SystemExit
                if isinstance(caller, TestCaller):
                    raise
                self.app.logger.exception("a Socket.IO handler failed: %s", _what(job))
                self._failed(job, FAILED)

    def call_outside(self, callback: Callable[..., Any], args: list[Any]) -> None:
        """Call a function with the answer of a client of another process."""
        with self.app.app_context():
            try:
                self.app.ensure_sync(callback)(*args)
            except Exception:
                self.app.logger.exception("a callback of a Socket.IO event failed")

    def _failed(self, job: Job, error: dict[str, Any]) -> None:
        if job.kind is JobKind.CONNECT:
            client = job.client
            client.server.runtime.post(client.server.refuse, client, error)

    def _do(self, job: Job, environ: dict[str, Any]) -> None:
        client = job.client
        application = client.connection.link.caller.settings["wsgi_app"]
        function = functools.partial(self._in_context, job, environ)
        result = calls.in_context(self.app, application, environ, function)
        server = client.server
        if job.kind is JobKind.CONNECT:
            error, access = result
            if error is None:
                server.runtime.post(server.accept, client, access)
            else:
                server.runtime.post(server.refuse, client, error)
        elif job.kind is JobKind.EVENT and job.ack_id is not None and result is not NOT_HANDLED:
            args = [] if result is None else list(result) if isinstance(result, tuple) else [result]
            answer = Message(self.parser, Packet(packet.ACK, client.namespace, args, job.ack_id))
            server.runtime.post(server.reply, client, answer)

    def _in_context(self, job: Job, environ: dict[str, Any]) -> Any:
        """Do a job in a request context."""
        client = job.client
        try:
            if job.kind is JobKind.EVENT:
                return self._trigger(client, job.args[0], *job.args[1:])
            if job.kind is JobKind.CONNECT:
                return self._connect(client, environ, job.args[0])
            if job.kind is JobKind.DISCONNECT:
                return self._trigger(client, DISCONNECT, *job.args)
            assert job.callback is not None
            return self.call(job.callback, None, client, job.args)
        finally:
            calls.save_session(self.app, client.connection)

    def _connect(
        self, client: Client, environ: dict[str, Any], auth: Any
    ) -> tuple[dict[str, Any] | None, Access]:
        """Return why a client is refused, if it is, and who it is."""
        asked_at = time.monotonic()
        access = Access(self._who(), asked_at)
        try:
            said = self._trigger(client, CONNECT, environ, auth)
        except errors.ConnectionRefusedError as error:
            return error.error_args, access
        except builtins.ConnectionRefusedError:
            return REFUSED, access
        return (REFUSED if said is False else None), access

    def _who(self) -> Identity:
        """Ask the application's live events who this is, as they would be asked there."""
        if not identify(self.hooks):
            return NOBODY
        # What they rely on, `before_request` functions may have to find out.
        if self.app.preprocess_request() is not None:
            return NOBODY
        return self.hooks.who()

    def _trigger(self, client: Client, event: str, *args: Any) -> Any:
        """Call what is registered for an event; `NOT_HANDLED` if nothing is."""
        found = self.handlers.find(client.namespace, event)
        if found is not None:
            registered, handler = found
            if event == CONNECT:
                args = args[1:]  # functions get no environ: they have `request`
            elif registered != event:
                args = (event, *args)
            return self.call(handler, registered, client, args)
        namespace_object = self.handlers.find_object(client.namespace)
        if namespace_object is not None:
            calls.describe(client, event, args)
            return namespace_object.trigger_event(event, client.sid, *args)
        return NOT_HANDLED

    def call(
        self, handler: Callable[..., Any], message: str | None, client: Client, args: Any
    ) -> Any:
        """Call a function as a handler; what it raises goes to the error handlers."""
        calls.describe(client, message, tuple(args))
        function = self.app.ensure_sync(handler)
        try:
            if message in (CONNECT, DISCONNECT):
                return call_optional(function, *args)
            return function(*args)
        except errors.ConnectionRefusedError:
            raise
        except Exception as error:
            on_error = self.exception_handlers.get(client.namespace, self.default_exception_handler)
            if on_error is None or isinstance(error, builtins.ConnectionRefusedError):
                raise
            return on_error(error)


def _what(job: Job) -> str:
    if job.kind is JobKind.EVENT:
        return f"event {job.args[0][:80]!a} in {job.client.namespace}"
    return f"{job.kind.name.lower()} in {job.client.namespace}"
