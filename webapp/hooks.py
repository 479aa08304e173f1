"""What runs around every request; start-up work is in `startup.py`."""

from __future__ import annotations

from flask import Flask, Response

from webapp import body_limits, identity
from webapp.extensions import db
from webapp.request_id import HEADER, request_id

_CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_SECURITY_HEADERS = {
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not "no-referrer": over HTTPS the CSRF check wants to see where a form was.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def register(app: Flask) -> None:
    """Set the hooks; call it before extensions add theirs, so that identity comes first."""
    identity.register(app)
    body_limits.register(app)
    app.after_request(_add_headers)
    app.teardown_request(_roll_back)


def _add_headers(response: Response) -> Response:
    response.headers[HEADER] = request_id()
    for name, value in _SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    # Pages differ from person to person, and a restored one must not show an old timeline.
    response.headers.setdefault("Cache-Control", "no-cache, private")
    return response


def _roll_back(error: BaseException | None) -> None:
    if error is not None:
        db.session.rollback()
