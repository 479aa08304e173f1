"""Live events: the runs of generators, so that their end is told even after a crash."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "live_run",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("channel", sa.String(128), nullable=False),
        sa.Column("user_id", sa.String(255), nullable=True),
        sa.Column("worker_id", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("stopping", sa.Boolean(), nullable=False),
        sa.Column("cursor", sa.String(64), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_live_run")),
    )
    op.create_index("ix_live_run_channel", "live_run", ["channel", "started_at"])
    op.create_index("ix_live_run_seen", "live_run", ["state", "seen_at"])


def downgrade() -> None:
    op.drop_table("live_run")
