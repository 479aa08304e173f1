"""The tables of what people see: accounts, posts, comments, attachments, notifications.

Every timestamp is timezone-aware and in UTC, on databases that keep no time zone too. What the
site needs to know of log-ins and requests is in `records.py`.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp.columns import Model, UtcDateTime, utc_now

USERNAME_CHARACTERS = 30
ABOUT_CHARACTERS = 500
TITLE_CHARACTERS = 200
POST_CHARACTERS = 20_000
COMMENT_CHARACTERS = 2_000
EXCERPT_CHARACTERS = 280
FILE_NAME_CHARACTERS = 120
WORD_CHARACTERS = 40

USER, ADMIN = "user", "admin"
ROLES = (USER, ADMIN)


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
    about: Mapped[str] = mapped_column(String(ABOUT_CHARACTERS), default="", server_default="")
    role: Mapped[str] = mapped_column(String(10), default=USER)
    disabled: Mapped[bool] = mapped_column(default=False)
    credential_generation: Mapped[int] = mapped_column(default=0, server_default="0")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)

    @property
    def roles(self) -> frozenset[str]:
        """Every role the account has now."""
        return frozenset({USER, self.role})

    def may_change(self, written: Post | Comment) -> bool:
        """Whether this account may change and delete it: its author and administrators may."""
        return self.id == written.author_id or self.role == ADMIN


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
    """A post: Markdown, what becomes of it, its beginning as plain text. No id is used twice.

    `version` rises with each edit; SQLAlchemy refuses to overwrite one that it has not read
    (`StaleDataError`). `comment_count` is kept by `posts.py`, in SQL.
    """

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
    version: Mapped[int] = mapped_column(default=1, server_default="1")
    comment_count: Mapped[int] = mapped_column(default=0, server_default="0")

    author: Mapped[User] = relationship(lazy="joined", innerjoin=True)
    attachments: Mapped[list[Attachment]] = relationship(order_by="Attachment.id", viewonly=True)

    __mapper_args__ = {"version_id_col": version}


class Attachment(Model):
    """A file of a post; its bytes are in the upload folder (`attachments.py`)."""

    __tablename__ = "attachment"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    post_id: Mapped[int] = mapped_column(ForeignKey("post.id", ondelete="CASCADE"), index=True)
    uploader_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"), index=True)
    name: Mapped[str] = mapped_column(String(FILE_NAME_CHARACTERS))
    media_type: Mapped[str] = mapped_column(String(100))
    size_bytes: Mapped[int]
    stored_as: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)

    @property
    def is_image(self) -> bool:
        """Whether browsers may show it; everything else is a download."""
        return self.media_type.startswith("image/")


class Notification(Model):
    """That somebody commented on one's post, or mentioned one."""

    __tablename__ = "notification"
    __table_args__ = (
        Index(None, "user_id", "id"),
        Index(None, "user_id", "read_at"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"))
    actor_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"))
    kind: Mapped[str] = mapped_column(String(10))
    post_id: Mapped[int] = mapped_column(ForeignKey("post.id", ondelete="CASCADE"), index=True)
    comment_id: Mapped[int | None] = mapped_column(
        ForeignKey("comment.id", ondelete="CASCADE"), index=True
    )
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    read_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    actor: Mapped[User] = relationship(lazy="joined", innerjoin=True, foreign_keys=[actor_id])
    post: Mapped[Post] = relationship(lazy="joined", innerjoin=True)


class SearchWord(Model):
    """That a post has a word, in the form in which `search.py` looks for it."""

    __tablename__ = "search_word"

    # Ranges of it are read, in the order of the characters' numbers, whatever the database's is.
    word: Mapped[str] = mapped_column(
        String(WORD_CHARACTERS).with_variant(String(WORD_CHARACTERS, collation="C"), "postgresql"),
        primary_key=True,
    )
    post_id: Mapped[int] = mapped_column(
        ForeignKey("post.id", ondelete="CASCADE"), primary_key=True, index=True
    )
