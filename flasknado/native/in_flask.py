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

import asyncio
import contextlib
import functools
import io
import logging
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from flask import Flask
from tornado.web import RequestHandler

from flasknado.environ import REQUEST_ID_KEY, base_environ, build_environ
from flasknado.errors import ConfigurationError, RequestError
from flasknado.http.head import parse_head
from flasknado.http.message import Body, HeaderField, RequestHead
from flasknado.http.request_id import current_request_id
from flasknado.native.stack import Refused as Refused
from flasknado.native.stack import StackCall, hook
from flasknado.pool import Pool, PoolFull, Task
from flasknado.stock.adapter import head_of

T = TypeVar("T")

log = logging.getLogger("flasknado.native")

LANE_THREADS = 4
LANE_QUEUE_LIMIT = 2000
DEFAULT_TIMEOUT_S = 10.0

_WRAPPED_IN = ("app", "wsgi_app", "application", "_app", "__wrapped__", "__self__", "func")

AUTHORIZING = "native"
"""The lane that `in_flask` takes by itself."""

_lanes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Pool]]
_lanes = weakref.WeakKeyDictionary()


def flask_app_of(wsgi_app: object) -> Flask:
    """Return the Flask application that is, or is wrapped in, a WSGI application.

    Middleware is looked through by the attributes that it usually keeps the application
    in, by the `mounts` of a dispatcher, and by what a function has closed over. Raises
    `ConfigurationError` if none is found.
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
    mounts = getattr(candidate, "mounts", None)
    if isinstance(mounts, dict):
        yield from mounts.values()
    for cell in getattr(candidate, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # nothing is in it yet
            if callable(cell.cell_contents):
                yield cell.cell_contents


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
    lane: str = AUTHORIZING,
) -> T:
    """Return `function(*args)`, run in a Flask request context of the handler's request.

    The context is made by calling the WSGI application that is served, so middleware around
    Flask has its say. Raises `Refused`: with status and fields of what middleware answers by
    itself; with the status of the response that a `before_request` function or an error
    handler answers with, or of `abort()`; with 500 for any other exception (which is logged),
    and 503 if the lane is full or does not answer within `timeout_s`. What the function
    returns must not need the context any more. What may take long goes by another lane, which
    is a name, for threads of its own. To be awaited on the loop's thread.
    """
    app = app_of(handler)
    hook(app)
    work = StackCall(app, functools.partial(app.ensure_sync(function), *args))
    call = _Call(handler.settings["wsgi_app"], environ_of(handler), work)
    pool = _lane(handler, lane)
    try:
        pool.submit(call)
        return await asyncio.wait_for(call.future, timeout_s)
    except PoolFull:
        reason = "too many requests wait for the application"
    except TimeoutError:
        reason = f"the application did not answer within {timeout_s:g} s"
        pool.withdraw(call)
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


class _Call(Task):
    """One call of the WSGI application. Made on the loop's thread."""

    __slots__ = ("_application", "_call", "_environ", "_loop", "future")

    def __init__(self, application: Any, environ: dict[str, Any], call: StackCall) -> None:
        super().__init__()
        self._application = application
        self._environ = environ
        self._call = call
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self._loop.create_future()

    def run(self) -> None:
        result: Any = None
        refusal: Refused | None = None
        current_request_id.set(self._environ[REQUEST_ID_KEY])
        try:
            result = self._call.run(self._application, self._environ)
        except Refused as error:
            refusal = error
        try:
            self._loop.call_soon_threadsafe(self._settle, result, refusal)
        except RuntimeError:
            log.debug("the loop closed before a native request was answered")

    def shed(self) -> None:
        self._settle(None, Refused(503, "too many requests wait: try again later"))

    def _settle(self, result: Any, refusal: Refused | None) -> None:
        if self.future.done():
            return
        if refusal is not None:
            self.future.set_exception(refusal)
        else:
            self.future.set_result(result)


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


def _lane(handler: RequestHandler | Caller, name: str) -> Pool:
    """Return a lane's threads of the running loop, started when needed."""
    loop = asyncio.get_running_loop()
    lanes = _lanes.get(loop)
    if lanes is None:
        lanes = _lanes[loop] = {}
        add_close_callback = getattr(
            handler.settings.get("http_server"), "add_close_callback", None
        )
        if add_close_callback is not None:
            add_close_callback(functools.partial(_stop_lanes, loop))
    lane = lanes.get(name)
    if lane is None:
        lane = lanes[name] = Pool(LANE_THREADS, LANE_QUEUE_LIMIT, name=f"flasknado-{name}")
    return lane


def _stop_lanes(loop: asyncio.AbstractEventLoop) -> None:
    for lane in _lanes.pop(loop, {}).values():
        lane.stop()
