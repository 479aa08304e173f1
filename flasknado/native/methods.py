"""Which methods a native handler has, for `Allow` (RFC 9110, sections 10.2.1 and 15.5.6)."""

from __future__ import annotations

from typing import Any, Final

from tornado import httputil
from tornado.web import FallbackHandler, RequestHandler

from flasknado.native import tornado_private

METHOD_NOT_ALLOWED: Final = 405


def methods_of(handler_class: type[RequestHandler]) -> list[str]:
    """Return the methods that a handler defines, as opposed to inherits as a refusal."""
    methods = handler_class.SUPPORTED_METHODS
    if issubclass(handler_class, FallbackHandler):
        return list(methods)
    return [
        method
        for method in methods
        if getattr(handler_class, method.lower(), None) not in (None, tornado_private.unimplemented)
    ]


def name_methods(headers: httputil.HTTPHeaders, delegate: Any) -> None:
    """Add `Allow` to a 405, which must have it; `delegate` is what runs the handler."""
    handler_class = getattr(tornado_private.innermost(delegate), "handler_class", None)
    if handler_class is not None and "Allow" not in headers:
        headers["Allow"] = ", ".join(methods_of(handler_class))
