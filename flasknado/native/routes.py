"""Which half a request belongs to: the beginnings of all native patterns, then one expression.

A request whose path matches goes to a `tornado.web.Application` made of the native
routes; every other goes to the container without any Tornado object being made for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from tornado.routing import PathMatches, Rule, URLSpec

from flasknado.errors import ConfigurationError
from flasknado.native.application import NativeApplication

NativeRoute = Rule | Sequence[Any]
"""What `tornado.web.Application` takes as a route: a `URLSpec`, or a tuple of its arguments."""

_GROUP_NAME: Final = re.compile(r"\(\?P<[^>]+>")
_LITERAL: Final = re.compile(r"(?:[A-Za-z0-9/_,;:=@%&~-]|\\[^A-Za-z0-9])*(?![*?{+])")


class NativeRoutes:
    """The native routes of a server and the Tornado application that serves them.

    `settings` become the application's settings, where handlers find them. Belongs to the
    loop's thread. Raises `ConfigurationError` for a route that is not a path pattern.
    """

    def __init__(self, routes: Iterable[NativeRoute] = (), **settings: Any) -> None:
        self.specs: list[URLSpec] = []
        self.application = NativeApplication([], **settings)
        self._pattern: re.Pattern[str] | None = None
        self._beginnings: tuple[str, ...] = ()
        self.add(routes)

    def add(self, routes: Iterable[NativeRoute]) -> None:
        """Add routes after those that are there; of two that match, the earlier serves."""
        added = [_as_spec(route) for route in routes]
        self.specs.extend(added)
        self.application.wildcard_router.add_rules(added)
        if self.specs:
            patterns = [spec.regex.pattern for spec in self.specs]
            self._pattern = _one_pattern(patterns)
            self._beginnings = tuple({literal_beginning(pattern) for pattern in patterns})

    def match(self, path: str) -> bool:
        """Return whether a request for this path (percent-encoded, no query) is native."""
        # Most paths are told apart by how they begin, which is quicker than the expression.
        return (
            self._pattern is not None
            and path.startswith(self._beginnings)
            and self._pattern.match(path) is not None
        )


def literal_beginning(pattern: str) -> str:
    """Return text that every match of a regular expression begins with; empty if unknown."""
    found = _LITERAL.match(pattern)
    if found is None or "|" in pattern:
        return ""
    return re.sub(r"\\(.)", r"\1", found[0])


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
        f"the native route {route!r} is not a path pattern with a handler: "
        f"write (r'/path', Handler) or tornado.web.url(...)"
    )


def _one_pattern(patterns: Iterable[str]) -> re.Pattern[str]:
    # Group names may repeat between patterns and are not needed to tell the halves apart.
    branches = [_GROUP_NAME.sub("(", pattern) for pattern in patterns]
    return re.compile("|".join(f"(?:{branch})" for branch in branches))
