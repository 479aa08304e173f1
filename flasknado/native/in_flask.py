"""Flask's context for native handlers: `await in_flask(handler, function, *args)`.

    class WhoAmI(tornado.web.RequestHandler):
        async def get(self):
            self.write({"name": await in_flask(self, current_user_name)})

The function runs in a Flask request context made from the native request, after the
application's `before_request` functions, so the session and `g.user` are what a view would
see; the teardown functions run after it. It runs on a small lane of threads of its own, so
that a storm of native requests does not starve the ordinary ones, nor they it.
"""

from __future__ import annotations

import functools
import http
import io
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from flask import Flask
from tornado.web import HTTPError, RequestHandler
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from flasknado.errors import ConfigurationError, RequestError
from flasknado.http.head import parse_head
from flasknado.http.message import Body, HeaderField, RequestHead
from flasknado.http.request_id import current_request_id
from flasknado.native.lane import Call, LaneSettings, lane_of
from flasknado.stock.adapter import head_of
from flasknado.wsgi.environ import REQUEST_ID_KEY, base_environ, build_environ
from flasknado.wsgi.pool import PoolFull

T = TypeVar("T")

LANE_THREADS = 4
LANE_QUEUE_LIMIT = 2000
DEFAULT_TIMEOUT_S = 10.0

_WRAPPED_IN = ("app", "wsgi_app", "application", "_app", "__wrapped__", "__self__", "func")


class Refused(HTTPError):
    """The application refused a native request, or could not be asked.

    `status_code` is the status to answer with, `message` its text for the client,
    `headers` what belongs to the answer (`WWW-Authenticate`, `Retry-After`).
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.message = message
        self.headers = headers or {}


def flask_app_of(wsgi_app: object) -> Flask:
    """Return the Flask application that is, or is wrapped in, a WSGI application.

    Middleware is looked through by the attributes that it usually keeps the application
    in. Raises `ConfigurationError` if none is found.
    """
    seen: list[object] = []
    candidates = [wsgi_app]
    while candidates:
        candidate = candidates.pop(0)
        if isinstance(candidate, Flask):
            return candidate
        if len(seen) < 64 and not any(candidate is other for other in seen):
            seen.append(candidate)
            candidates.extend(_wrapped_in(candidate))
    raise ConfigurationError(
        f"no Flask application was found in {wsgi_app!r}: host a Flask application, "
        f"or let its middleware keep it in an attribute named 'app'"
    )


def _wrapped_in(candidate: object) -> Iterator[object]:
    for name in _WRAPPED_IN:
        inner = getattr(candidate, name, None)
        if inner is not None and (callable(inner) or isinstance(candidate, functools.partial)):
            yield inner


def app_of(handler: RequestHandler | Caller) -> Flask:
    """Return the Flask application that a native handler is served beside."""
    return flask_app_of(handler.settings.get("wsgi_app"))


class Caller:
    """Who made a native request: what `in_flask` needs of it once its handler is gone.

    Small, because thousands are kept: the fields are one piece of bytes. The body is not kept.
    """

    __slots__ = (
        "_client",
        "_fields",
        "_prefix",
        "_request_id",
        "_scheme",
        "_server",
        "_target",
        "_tls",
        "settings",
    )

    def __init__(self, handler: RequestHandler) -> None:
        head = _head_of(handler)
        self.settings: dict[str, Any] = handler.settings
        self._target = head.target
        self._fields = b"\n".join(b"%b:%b" % field for field in head.headers)
        self._client = head.client
        self._server = head.server
        self._scheme = sys.intern(head.scheme)
        self._prefix = sys.intern(head.prefix)
        self._request_id = head.request_id
        self._tls = head.tls

    def head(self) -> RequestHead:
        """Return the head of the request."""
        fields: list[HeaderField] = []
        for line in self._fields.split(b"\n"):
            name, _, value = line.partition(b":")
            fields.append((name, value))
        head = parse_head(
            "GET",
            self._target,
            "1.1",
            fields,
            client=self._client,
            server=self._server,
            scheme=self._scheme,
        )
        head.prefix = self._prefix
        head.request_id = self._request_id
        head.tls = self._tls
        return head


async def in_flask(
    handler: RequestHandler | Caller,
    function: Callable[..., T],
    *args: Any,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    lane: LaneSettings | None = None,
) -> T:
    """Return `function(*args)`, run in a Flask request context of the handler's request.

    Raises `Refused`: with the status of the response that a `before_request` function or
    an error handler answers with, of `abort()`, 500 for any other exception (which is
    logged), and 503 if the lane is full or does not answer within `timeout_s`. What the
    function returns must not need the context any more. `lane`: threads of its own, for what
    may take long or must not wait for others. To be awaited on the loop's thread.
    """
    app = app_of(handler)
    call = _Call(app, environ_of(handler), functools.partial(app.ensure_sync(function), *args))
    lane = lane or LaneSettings("native", LANE_THREADS, LANE_QUEUE_LIMIT)
    try:
        answer: T = await lane_of(lane, handler.settings.get("http_server")).run(call, timeout_s)
        return answer
    except PoolFull:
        reason = "too many requests wait for the application"
    except TimeoutError:
        reason = f"the application did not answer within {timeout_s:g} s"
    raise Refused(503, f"{reason}: try again later", {"Retry-After": "2"})


def environ_of(handler: RequestHandler | Caller) -> dict[str, Any]:
    """Return the WSGI environ of a native request; on the loop's thread.

    Raises `Refused` for a request that the WSGI half would not take.
    """
    head = handler.head() if isinstance(handler, Caller) else _head_of(handler)
    container = getattr(handler.settings.get("http_server"), "container", None)
    base = dict(container.base_environ) if container is not None else base_environ()
    if not (head.path + "/").startswith(base["SCRIPT_NAME"] + "/"):
        base["SCRIPT_NAME"] = ""
    head.request_id = head.request_id or current_request_id.get()
    if container is not None and head.request_id is None:
        head.request_id = container.request_ids.new()
    body = b"" if isinstance(handler, Caller) else handler.request.body or b""
    return build_environ(head, Body(io.BytesIO(body), len(body)), base)


def _head_of(handler: RequestHandler) -> RequestHead:
    try:
        return head_of(handler.request)
    except RequestError as error:
        raise Refused(error.status, str(error)) from None


class _Call(Call):
    """One function to run in one request context. Made on the loop's thread."""

    __slots__ = ("_app", "_environ")

    def __init__(self, app: Flask, environ: dict[str, Any], function: Callable[[], Any]) -> None:
        request = f"{environ['REQUEST_METHOD']} {ascii(environ['PATH_INFO'])[1:-1]}"
        super().__init__(f"the application's part of {request}", function)
        self._app = app
        self._environ = environ

    def run(self) -> None:
        result: Any = None
        refusal: Refused | None = None
        current_request_id.set(self._environ[REQUEST_ID_KEY])
        try:
            with self._app.request_context(self._environ):
                try:
                    result = self._run()
                except Exception as error:
                    refusal = _refusal(self._app, error)
        except Exception:  # opening the session, or a teardown function
            self._app.logger.exception("a native request failed in its context")
            refusal = _failure()
        self.answer(result, refusal)

    def _run(self) -> Any:
        response = self._app.preprocess_request()
        if response is not None:
            raise _refused_by(self._app.make_response(response))
        return self._function()


def _refusal(app: Flask, error: Exception) -> Refused:
    """Return what the application's own error handlers make of an exception."""
    if isinstance(error, Refused):
        return error
    try:
        response = app.make_response(app.handle_user_exception(error))
    except Exception:
        app.log_exception(sys.exc_info())
        return _failure()
    return _refused_by(response, error)


def _refused_by(response: Response, error: Exception | None = None) -> Refused:
    # A redirect (to a login page, say) leads a live client nowhere.
    status = response.status_code if response.status_code >= 400 else 403
    message = None
    if response.mimetype == "application/json":
        said = response.get_json(silent=True)
        message = said.get("message") if isinstance(said, dict) else None
    if not isinstance(message, str) and isinstance(error, HTTPException):
        message = error.description
    if not isinstance(message, str):
        message = http.HTTPStatus(status).phrase if status in _KNOWN else "refused"
    kept = ("WWW-Authenticate", "Retry-After")
    headers = {name: response.headers[name] for name in kept if name in response.headers}
    response.close()
    return Refused(status, message, headers)


def _failure() -> Refused:
    return Refused(500, "the application failed; the error has been logged")


_KNOWN = frozenset(status.value for status in http.HTTPStatus)
