"""Where the counts of attempts are kept: a small table of the application's own database.

`limits`, the library behind Flask-Limiter, keeps counts in Redis, Memcached or a process's
memory. The database is there already, is the same for all workers and machines, and is
asked only where a password is about to be checked. Fixed windows; the application's clock.
"""

from __future__ import annotations

import time
from typing import cast

from limits.storage import Storage
from sqlalchemy import Table, case, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from webapp.database import end_transaction
from webapp.extensions import db
from webapp.records import AttemptCount

_REMOVED_AT_ONCE = 20
_table = cast(Table, AttemptCount.__table__)


class DatabaseStorage(Storage):
    """Counts by key, each with the moment at which it begins anew. Needs an application context.

    A count is read in the request's own transaction, and raised in one of its own after the
    request's has ended, so that no thread ever holds two connections.
    """

    STORAGE_SCHEME = ["webapp-database"]

    @property
    def base_exceptions(self) -> type[Exception]:
        """What the database raises."""
        return SQLAlchemyError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Raise a count, and return it; what the session has not committed is lost."""
        end_transaction()
        with db.engine.begin() as connection:
            count = connection.scalar(_upsert(key, expiry, amount).returning(_table.c.hits))
            if count == amount:
                # With each new count some old ones go, so that the table stays small.
                old = select(_table.c.key).where(_table.c.expires_at <= time.time())
                some = old.limit(_REMOVED_AT_ONCE).scalar_subquery()
                connection.execute(delete(_table).where(_table.c.key.in_(some)))
        return int(count or 0)

    def get(self, key: str) -> int:
        """Return a count; 0 if it has begun anew."""
        wanted = select(_table.c.hits).where(_table.c.key == key)
        return int(db.session.scalar(wanted.where(_table.c.expires_at > time.time())) or 0)

    def get_expiry(self, key: str) -> float:
        """Return when a count begins anew, in seconds since the epoch."""
        wanted = select(_table.c.expires_at).where(_table.c.key == key)
        return float(db.session.scalar(wanted) or time.time())

    def note(self, key: str, expiry: float) -> None:
        """Set a count to one, until `expiry` seconds from now; the caller commits."""
        db.session.execute(delete(_table).where(_table.c.key == key))
        db.session.execute(_upsert(key, expiry, 1))

    def check(self) -> bool:
        """Whether the database answers."""
        db.session.execute(select(1))
        return True

    def reset(self) -> int:
        """Forget every count, and return how many there were."""
        end_transaction()
        with db.engine.begin() as connection:
            return connection.execute(delete(_table)).rowcount

    def clear(self, key: str) -> None:
        """Forget a count."""
        end_transaction()
        with db.engine.begin() as connection:
            connection.execute(delete(_table).where(_table.c.key == key))


def _upsert(key: str, expiry: float, amount: int) -> sqlite.Insert | postgresql.Insert:
    """Return the statement that begins a count or raises it, in one step."""
    now = time.time()
    on_sqlite = db.engine.dialect.name == "sqlite"
    insert = (sqlite.insert if on_sqlite else postgresql.insert)(_table).values(
        key=key, hits=amount, expires_at=now + expiry
    )
    over = _table.c.expires_at <= now
    return insert.on_conflict_do_update(
        index_elements=[_table.c.key],
        set_={
            "hits": case((over, amount), else_=_table.c.hits + amount),
            "expires_at": case((over, now + expiry), else_=_table.c.expires_at),
        },
    )
