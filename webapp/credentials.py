"""What makes a session cookie or a token worthless before its time.

Each JSON Web Token has a name of its own, which is noted when it is given back; sessions and API
tokens are records that are deleted (`sessions.py`, `api_tokens.py`). All of an account's cookies
and JSON Web Tokens carry the account's generation, which rises when the password changes or the
person logs out everywhere. Its live connections end each time, and their reconnect tickets with
them; whoever may still read comes back by a credential that is still good. Runs on view threads.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, delete, exists, select

from webapp import api_tokens, sessions
from webapp.columns import utc_now
from webapp.extensions import db, live
from webapp.models import User
from webapp.records import RevokedToken

_FORGOTTEN_AT_ONCE = 1_000


def is_revoked(name: str) -> ColumnElement[bool]:
    """Return the condition that the token of this name was given back."""
    return exists().where(RevokedToken.jti == name)


def revoke(name: str, user_id: int | str, expires_at: float) -> None:
    """Refuse one JSON Web Token from now on, and end its account's live connections.

    Args:
        name: the token's `jti`.
        user_id: whose it is.
        expires_at: when it would have ended by itself, in seconds since the epoch.

    The caller commits. Notes about credentials that have ended since are removed, some at a time.
    """
    old = select(RevokedToken.jti).where(RevokedToken.expires_at < utc_now())
    some = old.limit(_FORGOTTEN_AT_ONCE).scalar_subquery()
    db.session.execute(delete(RevokedToken).where(RevokedToken.jti.in_(some)))
    db.session.merge(RevokedToken(jti=name, expires_at=datetime.fromtimestamp(expires_at, UTC)))
    live.revoke(user_id)


def revoke_all(user: User) -> None:
    """Refuse every session and token of an account from now on; the caller commits."""
    # In SQL, so that two that happen at once both count.
    user.credential_generation = User.credential_generation + 1
    db.session.flush()
    sessions.end_all(user)
    api_tokens.end_all(user)
    live.revoke(user.id)
