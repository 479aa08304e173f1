"""Flask's context for native handlers: `await in_flask(handler, function, *args)`.

    class WhoAmI(tornado.web.RequestHandler):
        async def get(self):
            self.write({"name": await in_flask(self, current_user_name)})

The function runs in a Flask request context made from the native request by the application's
own WSGI stack (`flasknado.native.stack`), after its middleware and `before_request` functions,
so address, scheme, session and `g.user` are what a view would see; the teardown functions run
after it. It runs on a small lane of threads of its own, so that a storm of native requests
does not starve the ordinary ones, nor they it.
"""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from tornado.web import RequestHandler

from flasknado.environ import REQUEST_ID_KEY, base_environ, build_environ
from flasknado.errors import RequestError
from flasknado.flask_apps import flask_app_of
from flasknado.http.head import parse_head
from flasknado.http.message import Body, HeaderField, RequestHead
from flasknado.http.request_id import current_request_id
from flasknado.native.heads import head_of
from flasknado.native.lane import Call, LaneSettings, lane_of
from flasknado.native.stack import Refused as Refused
from flasknado.native.stack import StackCall, hook
from flasknado.pool import PoolFull

if TYPE_CHECKING:
    from flask import Flask

T = TypeVar("T")

LANE_THREADS = 4
LANE_QUEUE_LIMIT = 2000
DEFAULT_TIMEOUT_S = 10.0


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
        self._keep(head, head.headers, handler.settings)

    @classmethod
    def of(cls, head: RequestHead, settings: dict[str, Any]) -> Caller:
        """Return who made a request for which there is no handler."""
        caller = cls.__new__(cls)
        fields = head.headers
        host = (head.host or "").encode("latin-1")
        for at, (name, value) in enumerate(fields):
            if len(name) == 4 and name.lower() == b"host" and value != host:
                # That of an absolute-form target or of a trusted proxy goes before the field.
                fields = [*fields[:at], (name, host), *fields[at + 1 :]]
        caller._keep(head, fields, settings)
        return caller

    def _keep(self, head: RequestHead, fields: list[HeaderField], settings: dict[str, Any]) -> None:
        self.settings = settings
        self._target = head.target
        self._fields = b"\n".join(map(b":".join, fields))
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

    The context comes from calling the WSGI application that is served, so middleware around
    Flask applies. Raises `Refused`: with the status and header fields of an answer that
    middleware gives by itself; with the status of the response of a `before_request` function
    or error handler, or of `abort()`; with 500 for any other exception (which is logged); and
    with 503 if the lane is full or does not answer within `timeout_s`. The return value must
    not depend on the context. `lane`: a separate lane, for functions that may take long or must
    not wait for others. Await it on the event loop's thread.
    """
    app = app_of(handler)
    hook(app)
    work = StackCall(app, functools.partial(app.ensure_sync(function), *args))
    environ = environ_of(handler)
    call = Call(
        f"the application's part of {environ['REQUEST_METHOD']} "
        f"{ascii(environ['PATH_INFO'])[1:-1]}",
        functools.partial(_run, work, handler.settings["wsgi_app"], environ),
    )
    lane = lane or LaneSettings("native", LANE_THREADS, LANE_QUEUE_LIMIT)
    try:
        answer: T = await lane_of(lane, handler.settings.get("http_server")).run(call, timeout_s)
        return answer
    except PoolFull:
        reason = "too many requests wait for the application"
    except TimeoutError:
        reason = f"the application did not answer within {timeout_s:g} s"
    except Refused as refusal:
        if isinstance(handler, RequestHandler):
            _add_fields(handler, refusal)
        raise
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


def _run(work: StackCall, application: Any, environ: dict[str, Any]) -> Any:
    """Run the call; on a thread of the lane."""
    current_request_id.set(environ[REQUEST_ID_KEY])
    return work.run(application, environ)


def _add_fields(handler: RequestHandler, refusal: Refused) -> None:
    """Have the error response of a handler that does not catch the refusal carry its fields."""
    set_default_headers = handler.set_default_headers

    def set_them_too() -> None:
        set_default_headers()
        if sys.exc_info()[1] is refusal:  # Tornado begins its response afresh
            for name, value in refusal.headers.items():
                handler.set_header(name, value)
            for cookie in refusal.cookies:
                handler.add_header("Set-Cookie", cookie)

    handler.set_default_headers = set_them_too  # type: ignore[method-assign]
