"""Posts keep their HTML.

Revision: 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

from webapp.rerender import rerender

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("post", sa.Column("body_html", sa.Text(), nullable=False, server_default=""))
    # As SQL only (`flask db upgrade --sql`) this is left to `flask --app webapp posts render`.
    if not context.is_offline_mode():
        for _ in rerender(op.get_bind()):
            pass


def downgrade() -> None:
    op.drop_column("post", "body_html")
