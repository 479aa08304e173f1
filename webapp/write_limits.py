"""How many changes an account, or an address without one, may make: API, forms and chat alike."""

from __future__ import annotations

from flask import current_app, g, request
from limits import parse_many
from werkzeug.exceptions import TooManyRequests

from webapp.addresses import address
from webapp.extensions import limiter
from webapp.login_limits import configured, limited

_SAFE = ("GET", "HEAD", "OPTIONS")
_LIMIT, _SCOPE = "API_WRITE_LIMIT", "api_write"


def count_change() -> None:
    """Count this request if it may change something; raises `RateLimitExceeded` (429)."""
    if request.method not in _SAFE:
        _counted()


def count_form() -> None:
    """Count this request if it sends a form for an account; raises `RateLimitExceeded` (429).

    What nobody sends is refused anyway.
    """
    if g.user is not None:
        count_change()


def count_said() -> None:
    """Count what somebody says over a connection of their own; raises `TooManyRequests`.

    Flask-Limiter looks at views alone; its storage counts the rest under the same name.
    """
    limit = current_app.config[_LIMIT]
    if limit and not all(limiter.limiter.hit(each, _who(), _SCOPE) for each in parse_many(limit)):
        raise TooManyRequests("Too many messages: try again in a few minutes.")


def _who() -> str:
    return f"account {g.user.id}" if g.user is not None else address()


@limited
@limiter.shared_limit(
    configured(_LIMIT),
    scope=_SCOPE,
    key_func=_who,
    error_message="Too many changes",
)
def _counted() -> None:
    """Be counted."""
