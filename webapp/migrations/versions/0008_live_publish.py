"""Live events: `live_publish()`, with which anything publishes in SQL, on PostgreSQL.

Revision: 0008. On SQLite there is nothing to do.
"""

from __future__ import annotations

from alembic import op

from flasknado.live import publish_function

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(publish_function())


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION live_publish")
