"""Who is asking: `g.user`, from a bearer token or from the session cookie.

Both halves use it, because the live half runs `preprocess_request()` in a request context of
its own. A request without identity is anonymous (`g.user is None`), never a failure. A token
that is presented and not good makes the request anonymous too, and is told where an identity
matters (`g.token_refusal`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from flask import Flask, current_app, g, request, session
from flask.sessions import SecureCookieSessionInterface
from flask_jwt_extended import get_current_user
from werkzeug.exceptions import Forbidden, Unauthorized

from flasknado.live import Identity
from webapp import api_tokens, sessions, tokens
from webapp.errors import NEEDS_ACCOUNT
from webapp.extensions import db, live
from webapp.models import ADMIN, User
from webapp.serializers import user_json

EXTENSION_KEY = "flasknado.identity"
_NO_ROLES: frozenset[str] = frozenset()
# EventSource and WebSocket cannot set headers, so there a token may be in the query.
_LIVE_PREFIX = "/live/"
_QUERY_NAME = "access_token"
NOBODYS = frozenset(("static", "pages.avatar"))
"""The endpoints of views that answer everybody alike, and ask no database."""
# What a session holds.
_USER, _NAME, _GENERATION = "user_id", "session_id", "generation"
_BEARER = re.compile(r"[Bb]earer +(\S+)")

P = ParamSpec("P")
R = TypeVar("R")


def register(app: Flask) -> None:
    """Identify every request, and let native handlers ask who it is of: they cannot import us."""
    app.before_request(load_identity)
    app.after_request(sessions.note_seen)
    app.extensions[EXTENSION_KEY] = describe
    live.identity(live_identity)


def describe() -> dict[str, Any]:
    """Return who asks, as JSON: `{"user": {...} or None, "roles": [...]}`."""
    return {"user": user_json(g.user) if g.user else None, "roles": sorted(g.roles)}


def load_identity() -> None:
    """Set `g.user`, `g.roles`, `g.by_session` and `g.token_refusal` for this request."""
    g.user, g.roles, g.by_session, g.token_refusal = None, _NO_ROLES, False, None
    g.by_api_token, g.login_session = False, None
    g.token_expires_at = None
    if request.endpoint in NOBODYS or request.method == "OPTIONS":
        return
    try:
        presented = _load_from_token()
    except Unauthorized as refusal:
        g.token_refusal, presented = refusal, True
    if not presented and _USER in session:
        _load_from_session()


def log_in(user: User) -> None:
    """Begin a new session for `user`, and commit; nothing of the old one stays (no fixation)."""
    session.clear()
    session[_USER] = user.id
    session[_GENERATION] = user.credential_generation
    session[_NAME] = sessions.begin(user)
    db.session.commit()


def log_out() -> None:
    """End the session, and the live connections of its person, when the view commits.

    The cookie is worthless from then on, whoever has a copy of it.
    """
    if g.user is not None and g.by_session:
        sessions.end(g.login_session)
    forget()


def forget() -> None:
    """Answer without the session; on the server it is as it was."""
    g.user, g.roles, g.by_session, g.login_session = None, _NO_ROLES, False, None
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

    setattr(guarded, NEEDS_ACCOUNT, True)
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
    presented = _BEARER.fullmatch(request.headers.get("Authorization", ""))
    token = presented[1] if presented else request.args.get(_QUERY_NAME, "") if in_query else ""
    if token.startswith(api_tokens.PREFIX):
        _load_from_api_token(token)
        return True
    claims = tokens.verified_claims(["headers", "query_string"] if in_query else ["headers"])
    if claims is None:
        return False
    g.user = get_current_user()
    g.token_expires_at = claims.get("exp")
    # A token gives no more than the account has now.
    g.roles = g.user.roles.intersection(claims.get("roles", ()))
    return True


def _load_from_api_token(token: str) -> None:
    found = api_tokens.person_of(token)
    if found is None:
        raise tokens.unauthorized(
            "The API token is not one of this site's, has expired or was deleted.", "invalid_token"
        )
    g.user, record = found
    g.roles, g.by_api_token = g.user.roles, True
    g.token_expires_at = record.expires_at.timestamp()


def _load_from_session() -> None:
    user_id, name, generation = session[_USER], session.get(_NAME), session.get(_GENERATION)
    found = None
    if isinstance(user_id, int) and isinstance(name, str):
        found = sessions.person_of(user_id, name)
    if found is None or found[0].disabled or found[0].credential_generation != generation:
        forget()
        return
    g.user, g.login_session = found
    g.roles, g.by_session = g.user.roles, True
    g.session_seen = g.login_session.id, g.login_session.seen_at


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
