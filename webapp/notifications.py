"""Notifications: somebody commented on one's post, or wrote `@name`. They join the transaction.

Each is a row, and an event on the person's own channel, which carries how many are unread.
"""

from __future__ import annotations

import re
from datetime import timedelta

from sqlalchemy import ColumnElement, Select, delete, func, select, update

from webapp import channels
from webapp.columns import utc_now
from webapp.extensions import db
from webapp.models import Comment, Notification, Post, User

COMMENTED, MENTIONED = "comment", "mention"
MAX_MENTIONS = 10
MOST_COUNTED = 100
KEPT = timedelta(days=180)
_FORGOTTEN_AT_ONCE = 100
_MENTION = re.compile(r"(?<![\w@/.-])@([A-Za-z][A-Za-z0-9_-]{2,29})(?![\w-])")


def of_post(post: Post) -> None:
    """Tell whom a new post mentions; the caller commits."""
    _tell(post, None, post.author, _mentioned(post.body))


def of_comment(post: Post, comment: Comment) -> None:
    """Tell the post's author, and whom the comment mentions; the caller commits."""
    people = {post.author: COMMENTED}
    people |= {user: kind for user, kind in _mentioned(comment.body).items() if user != post.author}
    _tell(post, comment, comment.author, people)


def of(user: User) -> Select[Notification]:
    """Return the query for a person's notifications."""
    return select(Notification).where(Notification.user_id == user.id)


def unread_count(user: User) -> int:
    """Return how many are unread, `MOST_COUNTED` at most."""
    unread = select(Notification.id).where(*_unread(user.id)).limit(MOST_COUNTED).subquery()
    return db.session.scalar(select(func.count()).select_from(unread)) or 0


def read(notification: Notification) -> None:
    """Note that one has been read; the caller commits."""
    notification.read_at = notification.read_at or utc_now()


def read_all(user: User) -> None:
    """Note that all have been read, and remove the oldest; the caller commits."""
    now = utc_now()
    db.session.execute(update(Notification).where(*_unread(user.id)).values(read_at=now))
    old = of(user).with_only_columns(Notification.id).where(Notification.created_at < now - KEPT)
    some = old.limit(_FORGOTTEN_AT_ONCE).scalar_subquery()
    db.session.execute(delete(Notification).where(Notification.id.in_(some)))


def _unread(user_id: int) -> tuple[ColumnElement[bool], ...]:
    return Notification.user_id == user_id, Notification.read_at.is_(None)


def _mentioned(text: str) -> dict[User, str]:
    names = list(dict.fromkeys(name.lower() for name in _MENTION.findall(text)))[:MAX_MENTIONS]
    if not names:
        return {}
    known = select(User).where(User.username_key.in_(names), ~User.disabled)
    return dict.fromkeys(db.session.scalars(known), MENTIONED)


def _tell(post: Post, comment: Comment | None, actor: User, people: dict[User, str]) -> None:
    for user, kind in people.items():
        if user.id == actor.id:
            continue
        told = Notification(user_id=user.id, actor=actor, kind=kind, post=post)
        told.comment_id = comment.id if comment else None
        db.session.add(told)
        db.session.flush()
        channels.notified(told, unread_count(user))
