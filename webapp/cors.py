"""Which other origins' pages may read the API: one policy for both halves.

The setting is `CORS_ORIGINS`. Flask-CORS answers for the API; native handlers, which may not
import this package, find the same policy in `app.extensions["flasknado.cors"]`.
"""

from __future__ import annotations

from collections.abc import Sequence

from flask import Flask, current_app

from flasknado.live import OriginPolicy
from webapp.extensions import cors
from webapp.request_id import HEADER

_CORS_KEY = "flasknado.cors"
_PREFLIGHT_MAX_AGE_S = 600
_LIMIT_HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


def register(app: Flask, origins: Sequence[str]) -> None:
    """Let pages of `origins` (or of every origin, for `*`) read the API of `app`."""
    app.extensions[_CORS_KEY] = OriginPolicy(origins)
    if not origins:
        return  # Flask-CORS would take an empty list for "everybody"
    cors.init_app(
        app,
        resources={r"/api/*": {}},
        origins=list(origins),
        # Tokens, not cookies, so the browser need not send credentials of its own.
        supports_credentials=False,
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-Match"],
        expose_headers=["ETag", "Location", "Retry-After", *_LIMIT_HEADERS, HEADER],
        max_age=_PREFLIGHT_MAX_AGE_S,
        always_send=False,
    )


def allowed_origin(origin: str) -> str | None:
    """Return `origin` if its pages may read the API, else `None`; needs an application context."""
    policy: OriginPolicy = current_app.extensions[_CORS_KEY]
    return origin if policy.allows(origin) else None
