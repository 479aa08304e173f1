"""How many changes an account, or an address without one, may make through the API."""

from __future__ import annotations

from flask import g, request

from webapp.extensions import limiter
from webapp.login_limits import address, configured, limited

_SAFE = ("GET", "HEAD", "OPTIONS")


def count_change() -> None:
    """Count this request if it may change something; raises `RateLimitExceeded` (429)."""
    if request.method not in _SAFE:
        _counted()


def _who() -> str:
    return f"account {g.user.id}" if g.user is not None else address()


@limited
@limiter.shared_limit(
    configured("API_WRITE_LIMIT"),
    scope="api_write",
    key_func=_who,
    error_message="Too many changes",
)
def _counted() -> None:
    """Be counted."""
