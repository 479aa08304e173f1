"""Which half a request belongs to, and which native route serves it.

A request whose path matches goes to a `tornado.web.Application` made of the native
routes; every other goes to the container without any Tornado object being made for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from tornado.routing import PathMatches, Rule, URLSpec

from flasknado.errors import ConfigurationError
from flasknado.http.message import RequestHead, Route
from flasknado.native.application import NativeApplication

ServeDirect = Callable[[dict[str, Any], RequestHead], Callable[[Any], None] | None]

NativeRoute = Rule | Sequence[Any]
"""What `tornado.web.Application` takes as a route: a `URLSpec`, or a tuple of its arguments."""

_LITERAL: Final = re.compile(r"(?:[A-Za-z0-9/_,;:=@%&~-]|\\[^A-Za-z0-9])*(?![*?{+])")
_LITERAL_PATH: Final = re.compile(r"/(?:[A-Za-z0-9/_,;:=@%&~-]|\\[^A-Za-z0-9])*\$")


class FoundRoute(Route):
    """One native route, as it is looked for."""

    __slots__ = ("position", "serve_direct", "spec")

    def __init__(self, spec: URLSpec, position: int) -> None:
        super().__init__(_label(spec.regex.pattern))
        self.spec = spec
        self.serve_direct: ServeDirect | None = getattr(spec.target, "serve_direct", None)
        """What may serve a request without a handler (`flasknado.native.direct`)."""
        self.position = position
        """Of two routes that match, the one with the lower position serves."""


class NativeRoutes:
    """The native routes of a server and the Tornado application that serves them.

    `settings` become the application's settings, where handlers find them. Belongs to the
    loop's thread. Raises `ConfigurationError` for a route that is not a path pattern.
    """

    def __init__(self, routes: Iterable[NativeRoute] = (), **settings: Any) -> None:
        self.specs: list[URLSpec] = []
        self.application = NativeApplication([], **settings)
        self._exact: dict[str, FoundRoute] = {}
        """Routes whose pattern is one path."""
        self._below: dict[str, list[FoundRoute]] = {}
        """Routes whose first segment is literal, by that segment."""
        self._others: list[FoundRoute] = []
        self.segments: set[str] | None = set()
        """The first segments of all paths that may match; `None` if they are not known."""
        self.add(routes)

    def add(self, routes: Iterable[NativeRoute]) -> None:
        """Add routes after those that are there; of two that match, the earlier serves."""
        added = [_as_spec(route) for route in routes]
        for spec in added:
            self._index(FoundRoute(spec, len(self.specs)))
            self.specs.append(spec)
        self.application.wildcard_router.add_rules(added)

    def _index(self, route: FoundRoute) -> None:
        pattern = route.spec.regex.pattern
        beginning = literal_beginning(pattern)
        end = beginning.find("/", 1)
        if _LITERAL_PATH.fullmatch(pattern):
            self._exact.setdefault(beginning, route)
            first = beginning if end < 0 else beginning[:end]
        elif beginning.startswith("/") and end > 0:
            first = beginning[:end]
            self._below.setdefault(first, []).append(route)
        else:
            self._others.append(route)
            self.segments = None
            return
        if self.segments is not None:
            self.segments.add(first)

    def find(self, path: str) -> FoundRoute | None:
        """Return the route of a path (percent-encoded, no query), or `None` if it is not native.

        The cost does not grow with the number of routes, but for those whose first segment is
        no literal text, or the same.
        """
        best = self._exact.get(path)
        end = path.find("/", 1)
        below = self._below.get(path[:end]) if end > 0 else None
        if below is not None:
            best = _first(below, path, best)
        if self._others:
            best = _first(self._others, path, best)
        return best


def _first(routes: list[FoundRoute], path: str, best: FoundRoute | None) -> FoundRoute | None:
    """Return the first route that matches, unless `best` goes before it."""
    for route in routes:
        if best is not None and best.position < route.position:
            break
        if route.spec.regex.match(path) is not None:
            return route
    return best


def _label(pattern: str) -> str:
    """Return a pattern as people read it: no end mark, no backslash before punctuation."""
    return re.sub(r"\\([^A-Za-z0-9])", r"\1", pattern.removesuffix("$"))


def literal_beginning(pattern: str) -> str:
    """Return text that every match of a regular expression begins with; empty if unknown."""
    found = _LITERAL.match(pattern)
    if found is None or "|" in pattern:
        return ""
    return _unescaped(found[0])


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _as_spec(route: NativeRoute) -> URLSpec:
    if isinstance(route, URLSpec):
        return route
    if isinstance(route, Rule):
        if isinstance(route.matcher, PathMatches):
            return URLSpec(
                route.matcher.regex.pattern, route.target, route.target_kwargs, route.name
            )
    elif isinstance(route, (tuple, list)) and len(route) in (2, 3, 4) and isinstance(route[0], str):
        return URLSpec(*route)
    raise ConfigurationError(
        f"the native route {route!r} is not a pattern with a handler: "
        f"write (r'/path', Handler) or tornado.web.url(...)"
    )
