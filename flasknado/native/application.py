"""Tornado's `Application` for the native routes, with a shorter way from a request to its handler.

What a handler sees is the same. Tornado asks a router of hosts and then one of paths, and
makes a task of a handler's coroutine by way of everything else that may be awaited. Here the
route is known from the front door while no routes are bound to hosts, and the task is made
directly.

How large a body a handler takes: what its attribute `max_body_bytes` says; without one, what
the server's limits say if it streams the body (`stream_request_body`) or has the method asked
for (not GET, HEAD or OPTIONS), else none at all. A rule of the server's limits for the path
goes before both, but where no body is taken. Forms are parsed when the handler asks for one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import CoroutineType
from typing import Any, Final

from mypy_extensions import mypyc_attr
from tornado import httputil
from tornado.gen import convert_yielded
from tornado.httputil import HTTPServerRequest
from tornado.routing import Rule
from tornado.web import Application, FallbackHandler, RequestHandler

from flasknado.http.body_limits import BodyLimits
from flasknado.http.message import RequestHead
from flasknado.native import tornado_private
from flasknado.native.forms import parse_lazily

_BODILESS: Final = frozenset(("GET", "HEAD", "OPTIONS"))
"""Methods whose content has no meaning (RFC 9110, sections 9.3.1, 9.3.2 and 9.3.7)."""


@mypyc_attr(allow_interpreted_subclasses=True)
class NativeApplication(Application):
    """The application of a server's native routes; belongs to the loop's thread."""

    delegate_class: type[tornado_private.HandlerDelegate]
    """What runs a handler: `HandlerDelegate`, unless the connections are Tornado's own."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        self.delegate_class = settings.pop("delegate_class", HandlerDelegate)
        super().__init__(*args, **settings)

    def find_handler(
        self, request: HTTPServerRequest, **kwargs: Any
    ) -> tornado_private.HandlerDelegate:
        """Return what runs the handler of the route that the front door found."""
        head: RequestHead | None = getattr(request.connection, "head", None)
        rule: Rule | None = getattr(head.native, "spec", None) if head is not None else None
        if rule is not None and len(self.default_router.rules) == 1:
            target = rule.target
            arguments = rule.matcher.match(request)
            serves = isinstance(target, type) and issubclass(target, RequestHandler)
            if serves and arguments is not None:
                return self.get_handler_delegate(
                    request,
                    target,
                    rule.target_kwargs,
                    arguments.get("path_args"),
                    arguments.get("path_kwargs"),
                )
        return super().find_handler(request, **kwargs)

    def get_handler_delegate(
        self,
        request: HTTPServerRequest,
        target_class: type[RequestHandler],
        target_kwargs: dict[str, Any] | None = None,
        path_args: list[bytes] | None = None,
        path_kwargs: dict[str, bytes] | None = None,
    ) -> tornado_private.HandlerDelegate:
        """Return what runs a handler of this class."""
        return self.delegate_class(
            self, request, target_class, target_kwargs, path_args, path_kwargs
        )


def max_body_bytes_of(
    handler_class: type[RequestHandler], method: str, path: str, limits: BodyLimits
) -> int:
    """Return the largest body that a handler takes with a method; 0: none."""
    own: int | None = getattr(handler_class, "max_body_bytes", None)
    streams = tornado_private.streams_body(handler_class)
    if own is None and not streams and not _takes_body(handler_class, method):
        return 0
    if own == 0:
        return 0
    rule = limits.rule_bytes(method, path)
    if rule is not None:
        return rule
    if own is not None:
        return own
    return limits.default_bytes if streams else limits.gathered_bytes


def _takes_body(handler_class: type[RequestHandler], method: str) -> bool:
    if issubclass(handler_class, FallbackHandler):
        return True
    does: object = getattr(handler_class, method.lower(), None)
    return method not in _BODILESS and does not in (None, tornado_private.unimplemented)


@mypyc_attr(allow_interpreted_subclasses=True)
class HandlerDelegate(tornado_private.HandlerDelegate):
    """Runs one handler for one request, in a task of its own."""

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        """Set the limit of the body, if there is one, before any of it is read."""
        if "Content-Length" in headers or "Transfer-Encoding" in headers:
            connection: Any = self.connection
            limit_bytes = self.limit_bytes()
            if limit_bytes is not None:
                connection.set_max_body_size(limit_bytes)
                connection.gathers = not self.stream_request_body
        return super().headers_received(start_line, headers)

    def limit_bytes(self) -> int | None:
        """Return the largest body that the handler takes; `None` if no server says."""
        limits = getattr(self.application.settings.get("http_server"), "body_limits", None)
        if limits is None:
            return None
        request = self.request
        return max_body_bytes_of(self.handler_class, request.method or "", request.path, limits)

    def finish(self) -> None:
        """Run the handler, which has the whole body, unless it streams it."""
        if not self.stream_request_body:
            self.request.body = bytes(self.chunks)
            self.chunks = bytearray()
            parse_lazily(self.request, self.handler_class)
            self.execute()
            return
        super().finish()

    def execute(self) -> Awaitable[None] | None:
        """Make the handler and begin its task; done when a streamed body may come."""
        cached = self.application.settings.get
        if not (cached("compiled_template_cache", True) and cached("static_hash_cache", True)):
            return super().execute()  # which empties the caches first
        handler: Any = self.handler_class(self.application, self.request, **self.handler_kwargs)
        self.handler = handler
        transforms = [transform(self.request) for transform in self.application.transforms]
        if self.stream_request_body:
            tornado_private.expect_body(handler)
        execution = tornado_private.execution(handler, transforms, self.path_args, self.path_kwargs)
        if isinstance(execution, CoroutineType):
            # What it raises, which is nothing as a rule, is logged when the task is collected.
            asyncio.get_running_loop().create_task(execution)
        else:
            convert_yielded(execution)
        return tornado_private.prepared(handler)
