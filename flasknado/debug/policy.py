"""What a page's `Content-Security-Policy` lets a script of ours do (CSP Level 3). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from flasknado.errors import FlasknadoError

_NONCE: Final = re.compile(r"'nonce-([A-Za-z0-9+/_=-]+)'", re.I)
_SCHEMES: Final = frozenset(("*", "http:", "https:"))


class Forbidden(FlasknadoError):
    """A policy forbids it; the text is the directive."""


def nonce_for_script(policies: Iterable[str], host: str) -> str:
    """Return the nonce that a script from `host` needs in a page with these policies.

    It is empty where the script needs none. policies: the values of the header fields. Raises
    `Forbidden` if the page may not run a script from its own host that connects to that host.
    """
    nonce = ""
    for policy in _each(policies):
        nonce = nonce or _nonce(_sources(policy, "script-src-elem", "script-src", "default-src"))
    for policy in _each(policies):
        _check_sandbox(policy)
        for names, own_nonce in (
            (("script-src-elem", "script-src", "default-src"), nonce),
            (("connect-src", "default-src"), ""),
        ):
            sources = _sources(policy, *names)
            if sources is not None and not _allows(sources, host, own_nonce):
                name = next(name for name in names if name in policy)
                raise Forbidden(" ".join((name, *sources)))
    return nonce


def _each(policies: Iterable[str]) -> Iterator[dict[str, list[str]]]:
    """Yield the directives of each policy; of two with one name the first counts."""
    for text in policies:
        for policy in text.split(","):
            directives: dict[str, list[str]] = {}
            for directive in policy.split(";"):
                words = directive.split()
                if words:
                    directives.setdefault(words[0].lower(), words[1:])
            if directives:
                yield directives


def _sources(policy: dict[str, list[str]], *names: str) -> list[str] | None:
    return next((policy[name] for name in names if name in policy), None)


def _nonce(sources: list[str] | None) -> str:
    found = (_NONCE.fullmatch(source) for source in sources or ())
    return next((match[1] for match in found if match is not None), "")


def _allows(sources: list[str], host: str, nonce: str) -> bool:
    if nonce and f"'nonce-{nonce}'" in sources:
        return True
    words = {source.lower() for source in sources}
    if "'strict-dynamic'" in words:
        return False
    own = {"'self'", host, f"http://{host}", f"https://{host}"}
    return bool(words & (own | _SCHEMES))


def _check_sandbox(policy: dict[str, list[str]]) -> None:
    allowed = policy.get("sandbox")
    if allowed is not None and not {"allow-scripts", "allow-same-origin"} <= set(allowed):
        raise Forbidden(" ".join(("sandbox", *allowed)))
