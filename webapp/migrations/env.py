"""How Alembic reaches the application's database; run by Alembic, never imported.

It does not configure logging: that is the server's.
"""

from __future__ import annotations

from contextlib import nullcontext

from alembic import context
from flask import current_app

from webapp.columns import UtcDateTime
from webapp.database import migration_connection
from webapp.extensions import db


def render_item(kind: str, item: object, _context: object) -> str | bool:
    """Write our timestamp type as SQLAlchemy's own, so that migrations outlive the code."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


options = {**current_app.extensions["migrate"].configure_args, "render_item": render_item}


def run_offline() -> None:
    """Write the SQL instead of running it (`flask db upgrade --sql`)."""
    context.configure(url=db.engine.url, target_metadata=db.metadata, literal_binds=True, **options)
    with context.begin_transaction():
        context.run_migrations()


def run_online() -> None:
    """Run the migrations on a connection that no other process migrates beside."""
    given = context.config.attributes.get("connection")
    with nullcontext(given) if given is not None else migration_connection() as connection:
        context.configure(connection=connection, target_metadata=db.metadata, **options)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
