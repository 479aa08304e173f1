"""Live events: an outbox, and tables of their own for events that are kept for minutes.

Revision: 0005. Nothing is moved: what the log has stays where it is, and can be resumed from.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

EVENTS = ("live_event_1", "live_buffered", "live_buffered_1")


def upgrade() -> None:
    offset = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    for name in EVENTS:
        op.create_table(
            name,
            sa.Column("offset", offset, autoincrement=False, nullable=False),
            sa.Column("channel", sa.String(128), nullable=False),
            sa.Column("name", sa.String(128), nullable=False),
            sa.Column("data", sa.Text(), nullable=False),
            sa.Column("kept", sa.Boolean(), nullable=False),
            sa.Column("created_at", sa.Double(), nullable=False),
            sa.PrimaryKeyConstraint("offset", name=op.f(f"pk_{name}")),
        )
        op.create_index(f"ix_{name}_channel_offset", name, ["channel", "offset"])
    op.create_index(
        "ix_live_buffered_signal",
        "live_buffered",
        ["offset"],
        sqlite_where=sa.text("NOT kept"),
        postgresql_where=sa.text("NOT kept"),
    )
    op.create_table(
        "live_outbox",
        sa.Column("id", offset, autoincrement=True, nullable=False),
        sa.Column("xid", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.String(128), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("kept", sa.Boolean(), nullable=False),
        sa.Column("buffered", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_live_outbox")),
    )
    op.create_index("ix_live_outbox_xid", "live_outbox", ["xid"])
    op.drop_index("ix_live_event_signal", "live_event")


def downgrade() -> None:
    op.create_index(
        "ix_live_event_signal",
        "live_event",
        ["offset"],
        sqlite_where=sa.text("NOT kept"),
        postgresql_where=sa.text("NOT kept"),
    )
    for table in ("live_outbox", *EVENTS):
        op.drop_table(table)
