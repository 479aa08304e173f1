"""Tornado's `Application` for the native routes, with a shorter way from a request to its handler.

What a handler sees is the same. Tornado asks a router of hosts and then one of paths, and
makes a task of a handler's coroutine by way of everything else that may be awaited. Here the
paths are asked directly while no routes are bound to hosts, and the task is made directly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import CoroutineType
from typing import Any

from mypy_extensions import mypyc_attr
from tornado.gen import convert_yielded
from tornado.httputil import HTTPServerRequest
from tornado.web import Application, RequestHandler

from flasknado.native import tornado_private


@mypyc_attr(allow_interpreted_subclasses=True)
class NativeApplication(Application):
    """The application of a server's native routes; belongs to the loop's thread."""

    def find_handler(
        self, request: HTTPServerRequest, **kwargs: Any
    ) -> tornado_private.HandlerDelegate:
        """Return what runs the handler of the first route that matches."""
        if len(self.default_router.rules) == 1:
            for rule in self.wildcard_router.rules:
                arguments = rule.matcher.match(request)
                if arguments is None:
                    continue
                target = rule.target
                if not (isinstance(target, type) and issubclass(target, RequestHandler)):
                    break
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
        return HandlerDelegate(self, request, target_class, target_kwargs, path_args, path_kwargs)


class HandlerDelegate(tornado_private.HandlerDelegate):
    """Runs one handler for one request, in a task of its own."""

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
