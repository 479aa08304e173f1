"""API tokens: made by a person for a program, shown once, good for `LIFETIME`, taken back any time.

They are sent as bearer tokens, like JSON Web Tokens, and speak for the account with the roles
that it has at that moment. Only a digest is kept: the token itself has 256 random bits, so that
a fast digest is enough. They end with the account's other credentials (`credentials.py`).
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from sqlalchemy import Select, delete, func, select

from webapp.columns import utc_now
from webapp.extensions import db, live
from webapp.models import User
from webapp.records import ApiToken

PREFIX = "fnado_"
LIFETIME = timedelta(days=365)
MAX_TOKENS = 20


class TooManyTokensError(ValueError):
    """The account has as many tokens as it may have; one sentence."""


def create(user: User, name: str) -> tuple[ApiToken, str]:
    """Make a token, and return its record and the token itself; the caller commits.

    Raises:
        TooManyTokensError: there are enough.
    """
    known = select(func.count(ApiToken.id)).where(ApiToken.user_id == user.id)
    if (db.session.scalar(known) or 0) >= MAX_TOKENS:
        raise TooManyTokensError(f"An account has at most {MAX_TOKENS} tokens: delete one first.")
    token = PREFIX + secrets.token_urlsafe(32)
    expires_at = utc_now() + LIFETIME
    record = ApiToken(user_id=user.id, name=name, digest=_digest(token), expires_at=expires_at)
    db.session.add(record)
    db.session.flush()
    return record, token


def person_of(token: str) -> tuple[User, ApiToken] | None:
    """Return whom a token speaks for, with its record; nobody if it is not good any more."""
    joined = select(User, ApiToken).join(ApiToken, ApiToken.user_id == User.id)
    good = ApiToken.digest == _digest(token), ApiToken.expires_at > utc_now(), ~User.disabled
    row = db.session.execute(joined.where(*good)).first()
    return None if row is None else (row[0], row[1])


def tokens_of(user: User) -> Select[ApiToken]:
    """Return the query for a person's tokens, newest first."""
    return select(ApiToken).where(ApiToken.user_id == user.id).order_by(ApiToken.id.desc())


def end(token: ApiToken) -> None:
    """Refuse a token from now on, and end its account's live connections; the caller commits."""
    db.session.delete(token)
    live.revoke(token.user_id)


def end_all(user: User) -> None:
    """Refuse all of a person's tokens; the caller commits, and ends the live connections."""
    db.session.execute(delete(ApiToken).where(ApiToken.user_id == user.id))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
