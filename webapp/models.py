"""The tables: accounts, posts, comments and revoked sessions and tokens, attempts.

Every timestamp is timezone-aware and in UTC, on databases that keep no time zone too.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Index,
    String,
    Text,
    func,
    select,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import Mapped, column_property, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from webapp.extensions import Base, db

if TYPE_CHECKING:
    Model = Base
else:
    Model = db.Model

USERNAME_CHARACTERS = 30
TITLE_CHARACTERS = 200
POST_CHARACTERS = 20_000
COMMENT_CHARACTERS = 2_000
EXCERPT_CHARACTERS = 280

USER, ADMIN = "user", "admin"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, kept in UTC; a naive one is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone: use datetime.now(UTC)")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        # SQLite gives back what it was given, without the zone; PostgreSQL in the session's zone.
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def utc_now() -> datetime:
    """Return the present time, aware and in UTC."""
    return datetime.now(UTC)


class User(Model):
    """An account. `username_key` is the name in lower case, so that no two differ by case only."""

    __tablename__ = "user_account"
    __table_args__ = (
        CheckConstraint(f"role in ('{USER}', '{ADMIN}')", name="role"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(USERNAME_CHARACTERS))
    username_key: Mapped[str] = mapped_column(String(USERNAME_CHARACTERS), unique=True)
    password_hash: Mapped[str] = mapped_column(String(60))
    role: Mapped[str] = mapped_column(String(10), default=USER)
    disabled: Mapped[bool] = mapped_column(default=False)
    credential_generation: Mapped[int] = mapped_column(default=0, server_default="0")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)

    @property
    def roles(self) -> frozenset[str]:
        """Every role the account has now."""
        return frozenset({USER, self.role})

    def may_change(self, post: Post) -> bool:
        """Whether this account may edit and delete `post`: its author and administrators may."""
        return self.id == post.author_id or self.role == ADMIN


class Comment(Model):
    """A comment on a post, plain text; it goes when its post goes."""

    __tablename__ = "comment"
    __table_args__ = (
        Index(None, "post_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    post_id: Mapped[int] = mapped_column(ForeignKey("post.id", ondelete="CASCADE"))
    author_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"), index=True)
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)

    author: Mapped[User] = relationship(lazy="joined", innerjoin=True)


class Post(Model):
    """A post: Markdown, what becomes of it, its beginning as plain text. No id is used twice."""

    __tablename__ = "post"
    __table_args__ = (
        Index(None, "author_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"))
    title: Mapped[str] = mapped_column(String(TITLE_CHARACTERS))
    body: Mapped[str] = mapped_column(Text)
    # Ten times the Markdown at worst, so that lists do without.
    body_html: Mapped[str] = mapped_column(Text, server_default="", deferred=True)
    excerpt: Mapped[str] = mapped_column(String(EXCERPT_CHARACTERS))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)

    author: Mapped[User] = relationship(lazy="joined", innerjoin=True)
    comment_count: Mapped[int] = column_property(
        select(func.count(Comment.id))
        .where(Comment.post_id == id)  # noqa: A003
        .correlate_except(Comment)
        .scalar_subquery()
    )


class RevokedToken(Model):
    """A session or token that was given back; the row may go once it would have expired."""

    __tablename__ = "revoked_token"

    jti: Mapped[str] = mapped_column(String(36), primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class AttemptCount(Model):
    """How often something limited was tried; see `limit_storage.py`."""

    __tablename__ = "attempt_count"

    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    hits: Mapped[int]
    expires_at: Mapped[float] = mapped_column(Double, index=True)
