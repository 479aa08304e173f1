"""Live presence: who has been told to be on a channel, and what is told about them.

Revision: 0009.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "live_roster",
        sa.Column("channel", sa.String(128), nullable=False),
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("info", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("channel", "user_id", name=op.f("pk_live_roster")),
    )


def downgrade() -> None:
    op.drop_table("live_roster")
