"""Sessions as records, API tokens, versions, notifications, attachments, words to search for.

Revision: 0006. Whoever is logged in has to log in again: their sessions have no record.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op

from webapp.search import index_all

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def foreign_key(table: str, column: str, other: str, **options: Any) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"{other}.id"], name=op.f(f"fk_{table}_{column}_{other}"), **options
    )


def moment(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.add_column(
        "user_account", sa.Column("about", sa.String(500), nullable=False, server_default="")
    )
    op.add_column("post", sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
    op.add_column(
        "post", sa.Column("comment_count", sa.Integer(), nullable=False, server_default="0")
    )
    op.execute(
        "UPDATE post SET comment_count ="
        " (SELECT count(*) FROM comment WHERE comment.post_id = post.id)"
    )
    op.create_table(
        "login_session",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(36), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("browser", sa.String(200), nullable=False),
        sa.Column("address", sa.String(45), nullable=False),
        moment("created_at"),
        moment("seen_at"),
        foreign_key("login_session", "user_id", "user_account"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_session")),
        sa.UniqueConstraint("name", name=op.f("uq_login_session_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "api_token",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        moment("created_at"),
        moment("expires_at"),
        foreign_key("api_token", "user_id", "user_account"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_token")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_token_digest")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "done_once",
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("location", sa.String(255), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        moment("created_at"),
        foreign_key("done_once", "user_id", "user_account"),
        sa.PrimaryKeyConstraint("user_id", "key", name=op.f("pk_done_once")),
    )
    op.create_table(
        "attachment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("post_id", sa.Integer(), nullable=False),
        sa.Column("uploader_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("media_type", sa.String(100), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("stored_as", sa.String(64), nullable=False),
        moment("created_at"),
        foreign_key("attachment", "post_id", "post", ondelete="CASCADE"),
        foreign_key("attachment", "uploader_id", "user_account"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attachment")),
        sa.UniqueConstraint("stored_as", name=op.f("uq_attachment_stored_as")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "notification",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("actor_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("post_id", sa.Integer(), nullable=False),
        sa.Column("comment_id", sa.Integer(), nullable=True),
        moment("created_at"),
        moment("read_at", nullable=True),
        foreign_key("notification", "user_id", "user_account"),
        foreign_key("notification", "actor_id", "user_account"),
        foreign_key("notification", "post_id", "post", ondelete="CASCADE"),
        foreign_key("notification", "comment_id", "comment", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notification")),
        sqlite_autoincrement=True,
    )
    word = sa.String(40).with_variant(sa.String(40, collation="C"), "postgresql")
    op.create_table(
        "search_word",
        sa.Column("word", word, nullable=False),
        sa.Column("post_id", sa.Integer(), nullable=False),
        foreign_key("search_word", "post_id", "post", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("word", "post_id", name=op.f("pk_search_word")),
    )
    for table, columns in (
        ("login_session", ["user_id"]),
        ("login_session", ["seen_at"]),
        ("api_token", ["user_id"]),
        ("done_once", ["created_at"]),
        ("attachment", ["post_id"]),
        ("attachment", ["uploader_id"]),
        ("notification", ["user_id", "id"]),
        ("notification", ["user_id", "read_at"]),
        ("notification", ["post_id"]),
        ("notification", ["comment_id"]),
        ("search_word", ["post_id"]),
    ):
        op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, columns)
    # As SQL only (`flask db upgrade --sql`) this is left to `flask --app webapp posts index`.
    if not context.is_offline_mode():
        for _ in index_all(op.get_bind()):
            pass


def downgrade() -> None:
    for table in (
        "search_word",
        "notification",
        "attachment",
        "done_once",
        "api_token",
        "login_session",
    ):
        op.drop_table(table)
    op.drop_column("post", "comment_count")
    op.drop_column("post", "version")
    op.drop_column("user_account", "about")
