"""Who is asking: `g.user`, from a bearer token or from the session cookie.

Both halves use it, because the live half runs `preprocess_request()` in a request context of
its own. A request without identity is anonymous (`g.user is None`), never a failure. A token
that is presented and not good makes the request anonymous too, and is told where an identity
matters (`g.token_refusal`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from flask import Flask, g, request, session
from flask_jwt_extended import get_current_user
from werkzeug.exceptions import Forbidden, Unauthorized

from webapp import tokens
from webapp.extensions import db
from webapp.models import ADMIN, User
from webapp.serializers import user_json

EXTENSION_KEY = "flasknado.identity"
_NO_ROLES: frozenset[str] = frozenset()
# EventSource and WebSocket cannot set headers, so there a token may be in the query.
_LIVE_PREFIX = "/live/"

P = ParamSpec("P")
R = TypeVar("R")


def register(app: Flask) -> None:
    """Identify every request, and let native handlers ask who it is of: they cannot import us."""
    app.before_request(load_identity)
    app.extensions[EXTENSION_KEY] = describe


def describe() -> dict[str, Any]:
    """Return who asks, as JSON: `{"user": {...} or None, "roles": [...]}`."""
    return {"user": user_json(g.user) if g.user else None, "roles": sorted(g.roles)}


def load_identity() -> None:
    """Set `g.user`, `g.roles`, `g.by_session` and `g.token_refusal` for this request."""
    g.user, g.roles, g.by_session, g.token_refusal = None, _NO_ROLES, False, None
    if request.endpoint == "static" or request.method == "OPTIONS":
        return
    try:
        presented = _load_from_token()
    except Unauthorized as refusal:
        g.token_refusal, presented = refusal, True
    if not presented and "user_id" in session:
        _load_from_session()


def log_in(user: User) -> None:
    """Begin a new session for `user`; nothing of the old one stays (no session fixation)."""
    session.clear()
    session["user_id"] = user.id


def log_out() -> None:
    """End the session."""
    session.clear()


def current_user() -> User:
    """Return the account that asks, or raise `Unauthorized` (401)."""
    refuse_bad_token()
    if g.user is None:
        raise tokens.unauthorized()
    user: User = g.user
    return user


def refuse_bad_token() -> None:
    """Raise `Unauthorized` (401) if a token was presented and is not good."""
    if g.token_refusal is not None:
        raise g.token_refusal


def login_required(view: Callable[P, R]) -> Callable[P, R]:
    """Let only people with an account in; others get 401 (pages: the log-in form)."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        current_user()
        return view(*args, **kwargs)

    return guarded


def admin_only(view: Callable[P, R]) -> Callable[P, R]:
    """Let only administrators in: 401 without an identity, 403 with another role."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        current_user()
        if ADMIN not in g.roles:
            raise Forbidden("Only administrators may do this.")
        return view(*args, **kwargs)

    return guarded


def _load_from_token() -> bool:
    """Return whether an access token was presented; raise `Unauthorized` if it is not good."""
    in_query = request.path.startswith(_LIVE_PREFIX)
    claims = tokens.verified_claims(["headers", "query_string"] if in_query else ["headers"])
    if claims is None:
        return False
    g.user = get_current_user()
    # A token gives no more than the account has now.
    g.roles = g.user.roles.intersection(claims.get("roles", ()))
    return True


def _load_from_session() -> None:
    user_id = session["user_id"]
    user = db.session.get(User, user_id) if isinstance(user_id, int) else None
    if user is None or user.disabled:
        session.clear()
        return
    g.user, g.roles, g.by_session = user, user.roles, True
