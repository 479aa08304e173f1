"""Native routes below a path prefix: the mount of the application beside them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from tornado.routing import URLSpec

from flasknado.native.routes import NativeRoute, NativeRoutes

_FLAGS: Final = re.compile(r"\(\?[aiLmsux]+\)")


def mounted(routes: Iterable[NativeRoute], prefix: str) -> list[NativeRoute]:
    """Return routes as they are below a path prefix such as `/shop`; '': as they are.

    Raises `ConfigurationError` for a route that is not a path pattern.
    """
    if not prefix:
        return list(routes)
    return [_below(prefix, spec) for spec in NativeRoutes(routes).specs]


def _below(prefix: str, spec: URLSpec) -> URLSpec:
    pattern = spec.regex.pattern
    flags = ""
    found = _FLAGS.match(pattern)
    if found is not None:  # they must stand first
        flags, pattern = found[0], pattern[found.end() :]
    pattern = pattern.removeprefix("^")
    if "|" in pattern:
        pattern = f"(?:{pattern})"
    return URLSpec(flags + re.escape(prefix) + pattern, spec.target, spec.kwargs, spec.name)
