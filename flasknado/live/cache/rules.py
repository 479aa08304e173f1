"""Which views are cached, and which paths may be theirs. Flask side: no event loop."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from flask import Flask, Request, current_app, request

from flasknado.errors import ConfigurationError
from flasknado.live.errors import InvalidEvent
from flasknado.live.event import check_channel, check_pattern, is_pattern

FLIGHT_KEY: Final = "flasknado.live.cache"
"""Where the environ of a request has the `Flight` that its response may be kept for."""

Channels = str | Iterable[str] | Callable[..., str | Iterable[str]]
CacheKey = Callable[[Request], str | None]
ViewT = TypeVar("ViewT", bound=Callable[..., Any])

_MARK: Final = "_flasknado_cached"
_VARIABLE: Final = re.compile(r"<(?:([A-Za-z_]\w*)(?:\([^<>]*\))?:)?[^<>]*>")
_ONE_SEGMENT: Final = frozenset(("default", "string", "int", "float", "uuid"))


@dataclass(frozen=True, slots=True, eq=False)
class CachedView:
    """What `Live.cached` was told about a view."""

    channels: Channels
    key: CacheKey | None
    max_age_s: float

    def channels_of(self, values: Mapping[str, Any]) -> frozenset[str]:
        """Return the channels of a page, from the values of its URL; raises `InvalidEvent`."""
        channels = self.channels(**values) if callable(self.channels) else self.channels
        if isinstance(channels, str):
            channels = (channels,)
        if not callable(self.channels):
            channels = [channel.format_map(values) for channel in channels]
        named = frozenset(map(_checked, channels))
        if not named:
            raise InvalidEvent("a cached page needs a channel that says when it has changed")
        return named


class Flight:
    """A response that is being made; what a cached view tells of it (`Front` has the rest)."""

    __slots__ = ()

    def name(self, channels: frozenset[str]) -> None:
        """Say whose events will end the page; on the view's thread, before it reads anything."""
        raise NotImplementedError


def cached_view(view: ViewT, about: CachedView) -> ViewT:
    """Return the view so that a server which keeps pages knows it; raises for bad channels."""
    if not (isinstance(about.max_age_s, (int, float)) and about.max_age_s > 0):
        raise ConfigurationError(
            f"max_age_s must be a positive number of seconds, not {about.max_age_s!r}"
        )
    if not callable(about.channels):
        channels = [about.channels] if isinstance(about.channels, str) else list(about.channels)
        if not channels:
            raise ConfigurationError(
                "a cached view needs channels whose events say that its page has changed"
            )
        for channel in channels:
            if not isinstance(channel, str) or "{" not in channel:
                _checked(channel)
        about = CachedView(tuple(channels), about.key, about.max_age_s)

    @functools.wraps(view)
    def answer(**values: Any) -> Any:
        flight = request.environ.get(FLIGHT_KEY)
        if isinstance(flight, Flight):
            try:
                flight.name(about.channels_of(values))
            except InvalidEvent:
                # No such channel can have events, so nothing would end the page: not kept.
                current_app.logger.debug("the page of %s has no channel", request.path)
            # The page is to be whole; whether its client has it already is asked of the cache.
            for name in ("HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE"):
                request.environ.pop(name, None)
        return current_app.ensure_sync(view)(**values)

    setattr(answer, _MARK, about)
    return answer  # type: ignore[return-value]


class CachedPaths:
    """Finds the cached view that a path may belong to. May be used on any thread.

    It may name one that Flask would not choose: then the response is not kept.
    """

    def __init__(self, app: Flask, mount: str = "") -> None:
        self._views: list[CachedView] = []
        patterns: list[str] = []
        others: set[str] = set()
        for rule in app.url_map.iter_rules():
            view = getattr(app.view_functions.get(rule.endpoint), _MARK, None)
            if rule.methods is not None and "GET" not in rule.methods:
                continue
            if view is None:
                if not rule.arguments:
                    others.add(mount + rule.rule)
            else:
                self._views.append(view)
                patterns.append(f"({re.escape(mount)}{_pattern(rule.rule)})")
        self._others = frozenset(others)
        """Paths of other views, which come first: `/login` is no person's page in `/<name>`."""
        self._paths = re.compile(f"(?:{'|'.join(patterns)})\\Z") if patterns else None

    def __bool__(self) -> bool:
        return self._paths is not None

    def find(self, path: str) -> CachedView | None:
        """Return the view whose rule this path seems to match, or `None`."""
        if path in self._others or self._paths is None:
            return None
        found = self._paths.match(path)
        return (
            None if found is None or found.lastindex is None else self._views[found.lastindex - 1]
        )


def _pattern(rule: str) -> str:
    """Return a regular expression without groups for the paths of a rule, and some more.

    It has one variable part for each segment, and nothing variable behind a `path`: several with
    the same characters would be tried in every way that a client's path can be divided.
    """
    segments: list[str] = []
    for segment in _segments(rule):
        variables = list(_VARIABLE.finditer(segment))
        if not variables:
            segments.append(re.escape(segment))
            continue
        before = re.escape(segment[: variables[0].start()])
        if all((each[1] or "default") in _ONE_SEGMENT for each in variables):
            after = re.escape(segment[variables[-1].end() :])
            between = {
                segment[one.end() : other.start()]
                for one, other in itertools.pairwise(variables)
                if one.end() < other.start()
            }
            has = "".join(f"(?=[^/]*{re.escape(text)})" for text in sorted(between))
            segments.append(f"{before}{has}[^/]+{after}")
            continue
        after = re.escape(rule[list(_VARIABLE.finditer(rule))[-1].end() :])
        return "/".join([*segments, f"{before}.+{after}"])
    return "/".join(segments)


def _segments(rule: str) -> list[str]:
    """Return a rule's segments; a slash within a variable's arguments divides nothing."""
    segments = [""]
    end = 0
    for variable in _VARIABLE.finditer(rule):
        first, *others = rule[end : variable.start()].split("/")
        segments[-1] += first
        segments += others
        segments[-1] += variable[0]
        end = variable.end()
    first, *others = rule[end:].split("/")
    segments[-1] += first
    return segments + others


def _checked(channel: str) -> str:
    if isinstance(channel, str) and is_pattern(channel):
        return check_pattern(channel)
    return check_channel(channel)
