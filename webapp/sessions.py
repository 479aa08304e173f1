"""Browsers that are logged in, as records: listed, ended one by one or all at once.

The session's cookie holds the record's name. Whoever ends the record ends the session, whatever
copies there are of the cookie. Runs on view threads.
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from flask import current_app, g, request
from sqlalchemy import Select, delete, select, update
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.wrappers import Response

from webapp.columns import utc_now
from webapp.database import end_transaction
from webapp.extensions import db, live
from webapp.models import User
from webapp.records import BROWSER_CHARACTERS, LoginSession

_SEEN_EVERY = timedelta(hours=1)
_FORGOTTEN_AT_ONCE = 100
# In this order: most browsers claim to be others, too.
_BROWSERS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def begin(user: User) -> str:
    """Note that `user` logs in with this request's browser, and return the session's name.

    The caller commits. Some records whose cookies have expired are removed.
    """
    lifetime: timedelta = current_app.permanent_session_lifetime
    oldest = utc_now() - lifetime - 2 * _SEEN_EVERY
    old = select(LoginSession.id).where(LoginSession.seen_at < oldest).limit(_FORGOTTEN_AT_ONCE)
    db.session.execute(delete(LoginSession).where(LoginSession.id.in_(old.scalar_subquery())))
    record = LoginSession(
        name=secrets.token_urlsafe(16),
        user_id=user.id,
        browser=request.headers.get("User-Agent", "")[:BROWSER_CHARACTERS],
        address=(request.remote_addr or "")[:45],
    )
    db.session.add(record)
    return record.name


def person_of(user_id: int, name: str) -> tuple[User, LoginSession] | None:
    """Return whose session this is, with its record; nobody's if it has ended."""
    joined = select(User, LoginSession).join(LoginSession, LoginSession.user_id == User.id)
    row = db.session.execute(joined.where(User.id == user_id, LoginSession.name == name)).first()
    return None if row is None else (row[0], row[1])


def sessions_of(user: User) -> Select[LoginSession]:
    """Return the query for a person's sessions, the one that was seen last first."""
    newest = LoginSession.seen_at.desc(), LoginSession.id.desc()
    return select(LoginSession).where(LoginSession.user_id == user.id).order_by(*newest).limit(100)


def end(session: LoginSession) -> None:
    """End a session, and the live connections of its person; the caller commits."""
    db.session.delete(session)
    live.revoke(session.user_id)


def end_all(user: User) -> None:
    """End every session of a person; the caller commits, and ends the live connections."""
    db.session.execute(delete(LoginSession).where(LoginSession.user_id == user.id))


def browser_name(user_agent: str) -> str:
    """Return a browser's `User-Agent` for people: `Firefox on Windows`, or its first word."""
    for sign, name in _BROWSERS:
        if sign in user_agent:
            system = next((said for mark, said in _SYSTEMS if mark in user_agent), "")
            return f"{name} on {system}" if system else name
    return user_agent.partition("/")[0] or "An unknown browser"


def note_seen(response: Response) -> Response:
    """Note, after a request, that its session is in use: once an hour, in its own transaction."""
    record_id, seen_at = g.get("session_seen") or (None, utc_now())
    if utc_now() - seen_at < _SEEN_EVERY:
        return response
    end_transaction()
    try:
        with db.engine.begin() as connection:
            seen = update(LoginSession).where(LoginSession.id == record_id)
            connection.execute(seen.values(seen_at=utc_now()))
    except SQLAlchemyError:
        current_app.logger.warning("a session's last use could not be noted", exc_info=True)
    return response
