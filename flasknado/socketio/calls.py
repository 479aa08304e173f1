"""Calls into the application: in a request context of the client's, session and all.

The context is made from the request of the client's handshake, as the application's own WSGI
middleware changes it; neither `before_request` nor `after_request` functions run (as in
Flask-SocketIO), the teardown functions do. The session is what the application's session
interface opens and saves. A cookie that it would set cannot reach the browser over WebSocket: it
is kept with the connection, and is among the cookies of the client's next events.

On the threads of the lane.
"""

from __future__ import annotations

from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any

import flask
from flask import Flask
from werkzeug.wrappers import Response

from flasknado.native.stack import StackCall, hook
from flasknado.socketio.client import Client, Connection


class EventCall(StackCall):
    """A function in the innermost place of the WSGI stack, without `before_request` functions."""

    __slots__ = ()

    def _respond(self) -> Response:
        self._result = self._function()
        self._ran = True
        return self._app.response_class(status=204)


def in_context(
    app: Flask, application: Any, environ: dict[str, Any], function: Callable[[], Any]
) -> Any:
    """Return what a function returns in a request context of `app`.

    `application` is the WSGI callable that is served. Raises what the function raises, and
    `flasknado.native.stack.Refused` if middleware answers by itself.
    """
    if application is app and "wsgi_app" not in vars(app):
        # Nothing stands around the application.
        with app.request_context(environ):
            return function()
    raised: list[BaseException] = []

    def guarded() -> Any:
        try:
            return function()
        except BaseException as error:
            raised.append(error)
            return None

    hook(app)
    result = EventCall(app, guarded).run(application, environ)
    if raised:
        raise raised[0]
    return result


def environ_with_cookies(environ: dict[str, Any], connection: Connection) -> dict[str, Any]:
    """Return a copy of an environ that has the cookies that handlers have set."""
    environ = dict(environ)
    if connection.cookies is not None:
        parts = [part.strip() for part in environ.get("HTTP_COOKIE", "").split(";")]
        kept = [p for p in parts if p and p.partition("=")[0] not in connection.cookies]
        kept += [f"{k}={v}" for k, v in connection.cookies.items() if v is not None]
        environ["HTTP_COOKIE"] = "; ".join(kept)
    return environ


def save_session(app: Flask, connection: Connection) -> None:
    """Save the session if it was changed; in the request context."""
    session: Any = flask.session
    if not getattr(session, "modified", True):
        return
    response = app.response_class()
    app.session_interface.save_session(app, session, response)
    for line in response.headers.getlist("Set-Cookie"):
        cookie: SimpleCookie = SimpleCookie()
        try:
            cookie.load(line)
        except CookieError:
            continue
        for name, morsel in cookie.items():
            if connection.cookies is None:
                connection.cookies = {}
            deleted = not morsel.value or morsel["max-age"] == "0"
            connection.cookies[name] = None if deleted else morsel.coded_value


def describe(client: Client, message: str | None, args: tuple[Any, ...]) -> None:
    """Give the current request what Flask-SocketIO gives it."""
    request: Any = flask.request
    request.sid = client.sid
    request.namespace = client.namespace
    request.event = {"message": message, "args": args}
    request.recovered = client.recovered_of is not None
    request.socketio_client = client
