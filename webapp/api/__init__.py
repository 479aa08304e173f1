"""The JSON API under `/api/v1`.

An identity is a bearer token, or the session of the site's own pages; a request that changes
something on the strength of a session needs the CSRF token in `X-CSRFToken`.
"""

from __future__ import annotations

from flask import Blueprint, Flask, g, request

from webapp.api import (
    admin,
    attachments,
    comments,
    conditions,
    docs,
    me,
    posts,
    search,
    site,
    tokens,
    users,
)
from webapp.extensions import csrf
from webapp.identity import refuse_bad_token
from webapp.write_limits import count_change

_PARTS = (tokens, users, me, posts, comments, attachments, search, admin, site)


def register(app: Flask) -> None:
    """Mount the blueprints."""
    api = Blueprint("api", __name__, url_prefix="/api/v1")
    api.before_request(_check_identity)
    api.after_request(conditions.add_etag)
    for part in _PARTS:
        # The check below is made for sessions only; a token is not sent by other sites' pages.
        csrf.exempt(part.blueprint)
        api.register_blueprint(part.blueprint)
    app.register_blueprint(api)
    app.register_blueprint(docs.blueprint)


def _check_identity() -> None:
    """Refuse a bad token, a session's change without the CSRF token, and too many changes."""
    if request.blueprint == "api.tokens":
        return  # they look at tokens themselves, a refresh token among them
    refuse_bad_token()
    if g.by_session:
        csrf.protect()
    count_change()
