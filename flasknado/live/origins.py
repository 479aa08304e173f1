"""Which other sites' pages may use native endpoints, and as whom. Pure.

An application keeps its policy in `app.extensions["flasknado.cors"]`, for every endpoint that
is on the loop:

    app.extensions[CORS_KEY] = OriginPolicy(["https://app.example.org"])

There are two kinds of leave. A listed origin may act for the user: with cookies. `*` takes in
every other origin, but without credentials: whatever the browser adds by itself is not looked
at, so a page can do no more than somebody who is not logged in, unless it has a token.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, MutableMapping
from typing import Final

from flasknado.errors import ConfigurationError

log: Final = logging.getLogger("flasknado.live")

CORS_KEY: Final = "flasknado.cors"
"""Where `app.extensions` holds the `OriginPolicy`."""

ANY: Final = "*"

_ORIGIN: Final = re.compile(r"(?i)https?://[^/?#@\s]+\Z")


def host_of(origin: str) -> str:
    """Return host and port of what a browser sends as `Origin`, in lower case; any text may come.

    Empty for `null`. It is compared with `Host`: a page of this very site has the same.
    """
    return origin.partition("://")[2].lower()


class OriginPolicy:
    """The origins that may use native endpoints.

    origins: as browsers send them, such as `https://app.example.org` (scheme, host and port,
        no path), or `*` for all others. Raises `ConfigurationError` for anything else.

    May be used on any thread.
    """

    def __init__(self, origins: Iterable[str] = ()) -> None:
        if isinstance(origins, str):
            origins = (origins,)
        listed = {_checked(origin) for origin in origins}
        self._any = ANY in listed
        self._listed = frozenset(listed - {ANY})

    def allows(self, origin: str) -> bool:
        """Return whether pages of an origin may read what is public."""
        return self._any or self.allows_credentials(origin)

    def allows_credentials(self, origin: str) -> bool:
        """Return whether pages of an origin may use the cookies that they send."""
        return origin.lower() in self._listed

    def headers(self, origin: str) -> dict[str, str]:
        """Return the CORS response headers for an origin (Fetch standard, section 3.3.3)."""
        if self.allows_credentials(origin):
            return {
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Allow-Credentials": "true",
            }
        return {"Access-Control-Allow-Origin": ANY} if self._any else {}


NO_OTHER_ORIGIN: Final = OriginPolicy()


def policy_in(extensions: MutableMapping[str, object]) -> OriginPolicy:
    """Return the policy of an application, which allows nobody unless it says so.

    What is there and is none allows nobody either, and is logged once.
    """
    policy = extensions.get(CORS_KEY)
    if isinstance(policy, OriginPolicy):
        return policy
    if policy is not None:
        log.error(
            "app.extensions[%r] is %.80r, so no other origin may connect: set it to an "
            "OriginPolicy, such as OriginPolicy(['https://app.example.org'])",
            CORS_KEY,
            policy,
        )
        extensions[CORS_KEY] = NO_OTHER_ORIGIN
    return NO_OTHER_ORIGIN


def _checked(origin: object) -> str:
    if isinstance(origin, str) and (origin == ANY or _ORIGIN.match(origin) is not None):
        return origin.lower()
    raise ConfigurationError(
        f"{origin!r} is not an origin: write scheme, host and port without a path, such as "
        f"https://app.example.org, or * for every origin without credentials"
    )
