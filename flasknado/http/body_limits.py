"""How large a request body may be: one table for both halves.

    BodyLimits("1M", {"POST /upload": "100M", "/api/*/photo": "10M", "/login": "64K"})

A rule is a path prefix of whole segments, after an optional method; `*` stands for one
segment. The longest rule wins, and of two for the same path the one that names a method.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from flasknado.errors import ConfigurationError, RequestError
from flasknado.sizes import MIB, size_bytes

DEFAULT_MAX_BODY_BYTES: Final = 100 * MIB

DEFAULT_GATHERED_BYTES: Final = 16 * MIB
"""The largest body that a native handler gathers in memory, unless it or a rule says more."""

_RULE: Final = re.compile(r"(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]+)\s+)?(/\S*)")


def pattern_of(path: str, end: str = "$") -> str:
    """Return a rule's path as a regular expression, of Python or of PCRE.

    It takes time in proportion to a client's path: of several stars in a segment, each but the
    last one ends where its text is found first, and is not tried again.
    """
    segments: list[str] = []
    for segment in path.split("/"):
        first, *others = [re.escape(part) for part in segment.split("*")]
        between = "".join(f"(?>[^/]*?{part})" for part in others[:-1] if part)
        segments.append(first + between + (f"[^/]*{others[-1]}" if others else ""))
    return "/".join(segments) + ("" if path.endswith("/") else f"(?:/|{end})")


class _Rule:
    """One rule, compiled."""

    __slots__ = ("limit_bytes", "method", "path", "pattern")

    def __init__(self, method: str | None, path: str, limit_bytes: int) -> None:
        self.method = method
        self.path = path
        self.limit_bytes = limit_bytes
        self.pattern = re.compile(pattern_of(path, end=r"\Z"))


class BodyLimits:
    """The largest bodies accepted, by method and path; immutable, any thread.

    default: where no rule matches, as bytes or text such as `100M`.
    rules: `"[METHOD ]/path"` to size.
    gathered: what a native handler may gather in memory where neither it nor a rule says;
        default: 16 MiB, or `default` if that is less.

    Raises `ConfigurationError` for a malformed rule or size.
    """

    def __init__(
        self,
        default: int | str = DEFAULT_MAX_BODY_BYTES,
        rules: Mapping[str, int | str] | None = None,
        gathered: int | None = None,
    ) -> None:
        self.default_bytes = size_bytes(default, "max_body_bytes")
        self.gathered_bytes = (
            gathered if gathered is not None else min(self.default_bytes, DEFAULT_GATHERED_BYTES)
        )
        self.rules: dict[str, int | str] = dict(rules or {})
        compiled = [_compiled(rule, size) for rule, size in self.rules.items()]
        self._rules = sorted(compiled, key=lambda rule: (-len(rule.path), rule.method is None))

    def limit_bytes(self, method: str, path: str) -> int:
        """Return the limit of a request for a path, still percent-encoded."""
        limit = self.rule_bytes(method, path) if self._rules else None
        return self.default_bytes if limit is None else limit

    def rule_bytes(self, method: str, path: str) -> int | None:
        """Return what the first rule that matches says, or `None`."""
        if self._rules:
            # Decoded, as the application sees it: else %61 for a would go round a limit.
            path = unquote(path)
            for rule in self._rules:
                if rule.method in (None, method) and rule.pattern.match(path) is not None:
                    return rule.limit_bytes
        return None


def split_rule(text: str) -> tuple[str, str]:
    """Return rule and size of text such as `POST /upload=100M`; raises `ConfigurationError`."""
    rule, separator, size = text.rpartition("=")
    if not separator:
        raise ConfigurationError(
            f"the body limit {text!r} has no size: write [METHOD ]/path=SIZE, such as "
            f"'POST /upload=100M'"
        )
    return rule.strip(), size.strip()


def body_too_large(max_body_bytes: int, announced_bytes: int | None = None) -> RequestError:
    """Return the refusal of a body that is larger than this route accepts (413)."""
    if max_body_bytes == 0:
        return RequestError(413, "no body is accepted here: send the request without one")
    what = "the body" if announced_bytes is None else f"a body of {announced_bytes} bytes"
    return RequestError(413, f"{what} is larger than the {max_body_bytes} bytes accepted here")


def _compiled(rule: str, size: int | str) -> _Rule:
    match = _RULE.fullmatch(rule.strip())
    if match is None:
        raise ConfigurationError(
            f"the body limit for {rule!r} must name an optional method and a path that begins "
            f"with a slash, such as 'POST /upload'"
        )
    method = match[1].upper() if match[1] else None
    return _Rule(method, match[2], size_bytes(size, f"the body limit for {rule!r}"))
