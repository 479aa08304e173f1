"""Which other sites' pages may connect, as `cors_allowed_origins` and `cors_credentials` say.

On the rules of `flasknado.live.origins`: a listed origin acts for the user, with cookies; `*`
takes in every other origin without credentials, so that a page of a stranger's can do no more
than somebody who is not logged in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flasknado.live.origins import OriginPolicy


class SocketPolicy:
    """The origins of one `SocketIO`: listed ones, or a function that says of each.

    Asked on the loop's thread; a function must not block.
    """

    def __init__(self, origins: OriginPolicy | Callable[[str], Any], *, credentials: bool) -> None:
        self._origins = origins
        self._credentials = credentials

    def allows(self, origin: str) -> bool:
        """Return whether pages of an origin may connect."""
        if isinstance(self._origins, OriginPolicy):
            return self._origins.allows(origin)
        return self._origins(origin) is True

    def allows_credentials(self, origin: str) -> bool:
        """Return whether pages of an origin may use the cookies that they send."""
        if not self._credentials:
            return False
        if isinstance(self._origins, OriginPolicy):
            return self._origins.allows_credentials(origin)
        return self.allows(origin)

    def headers(self, origin: str) -> dict[str, str]:
        """Return the CORS response headers for an origin (Fetch standard, section 3.3.3)."""
        if not self.allows(origin):
            return {}
        if self.allows_credentials(origin):
            return {
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Allow-Credentials": "true",
            }
        return {"Access-Control-Allow-Origin": origin}
