"""Who is asking: `g.user`, from a bearer token or from the session cookie.

Both halves use it, because the live half runs `preprocess_request()` in a request context of
its own. A request without identity is anonymous (`g.user is None`), never a failure. A token
that is presented and not good makes the request anonymous too, and is told where an identity
matters (`g.token_refusal`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from flask import Flask, current_app, g, request, session
from flask.sessions import SecureCookieSessionInterface
from flask_jwt_extended import get_current_user
from sqlalchemy import select
from werkzeug.exceptions import Forbidden, Unauthorized

from flasknado.live import Identity
from webapp import credentials, tokens
from webapp.extensions import db, live
from webapp.models import ADMIN, User
from webapp.serializers import user_json

EXTENSION_KEY = "flasknado.identity"
_NO_ROLES: frozenset[str] = frozenset()
# EventSource and WebSocket cannot set headers, so there a token may be in the query.
_LIVE_PREFIX = "/live/"
# What a session holds.
_USER, _NAME, _GENERATION = "user_id", "session_id", "generation"
# A request that began before the log-out may sign the session's cookie once more after it.
_STILL_SIGNED = timedelta(hours=1)

P = ParamSpec("P")
R = TypeVar("R")


def register(app: Flask) -> None:
    """Identify every request, and let native handlers ask who it is of: they cannot import us."""
    app.before_request(load_identity)
    app.extensions[EXTENSION_KEY] = describe
    live.identity(live_identity)


def describe() -> dict[str, Any]:
    """Return who asks, as JSON: `{"user": {...} or None, "roles": [...]}`."""
    return {"user": user_json(g.user) if g.user else None, "roles": sorted(g.roles)}


def load_identity() -> None:
    """Set `g.user`, `g.roles`, `g.by_session` and `g.token_refusal` for this request."""
    g.user, g.roles, g.by_session, g.token_refusal = None, _NO_ROLES, False, None
    g.token_expires_at = None
    if request.endpoint == "static" or request.method == "OPTIONS":
        return
    try:
        presented = _load_from_token()
    except Unauthorized as refusal:
        g.token_refusal, presented = refusal, True
    if not presented and _USER in session:
        _load_from_session()


def log_in(user: User) -> None:
    """Begin a new session for `user`; nothing of the old one stays (no session fixation)."""
    session.clear()
    session[_USER] = user.id
    session[_GENERATION] = user.credential_generation
    session[_NAME] = credentials.new_name()


def log_out() -> None:
    """End the session, and the live connections of its person, when the view commits.

    The cookie is worthless from then on, whoever has a copy of it.
    """
    if g.user is not None and g.by_session:
        lifetime: timedelta = current_app.permanent_session_lifetime
        expires_at = datetime.now(UTC) + lifetime + _STILL_SIGNED
        credentials.revoke(session[_NAME], g.user.id, expires_at.timestamp())
    forget()


def forget() -> None:
    """Answer without the session; on the server it is as it was."""
    g.user, g.roles, g.by_session = None, _NO_ROLES, False
    session.clear()


def live_identity() -> Identity:
    """Return who opens a live connection, and when the session or token behind it ends."""
    if g.user is None:
        return Identity()
    expires_at = _session_expires_at() if g.by_session else g.token_expires_at
    return Identity(str(g.user.id), expires_at)


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
    g.token_expires_at = claims.get("exp")
    # A token gives no more than the account has now.
    g.roles = g.user.roles.intersection(claims.get("roles", ()))
    return True


def _load_from_session() -> None:
    user_id, name, generation = session[_USER], session.get(_NAME), session.get(_GENERATION)
    user = None
    if isinstance(user_id, int) and isinstance(name, str):
        known = User.id == user_id, ~credentials.is_revoked(name)
        user = db.session.scalar(select(User).where(*known))
    if user is None or user.disabled or user.credential_generation != generation:
        forget()
        return
    g.user, g.roles, g.by_session = user, user.roles, True


def _session_expires_at() -> float | None:
    """Return when the session's cookie, which is dated by its signature, is taken no more."""
    serializer = SecureCookieSessionInterface().get_signing_serializer(current_app)
    cookie = request.cookies.get(current_app.config["SESSION_COOKIE_NAME"])
    if serializer is None or cookie is None:
        return None
    _, signed_at = serializer.loads(cookie, return_timestamp=True)
    lifetime: timedelta = current_app.permanent_session_lifetime
    expires_at: datetime = signed_at + lifetime
    return expires_at.timestamp()
