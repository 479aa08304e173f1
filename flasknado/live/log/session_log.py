"""The log in an application's own database, in the transactions of its sessions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, scoped_session

from flasknado.errors import ConfigurationError
from flasknado.live.errors import TransactionEnded
from flasknado.live.event import Cursor
from flasknado.live.log import sqlite, tables, transaction
from flasknado.live.log.base import OnCommit
from flasknado.live.log.database import DatabaseLog, not_transactional, tell_nobody
from flasknado.live.log.tables import Draft

if TYPE_CHECKING:
    from flask_sqlalchemy import SQLAlchemy

BESIDE_TIMEOUT_S = 0.1
"""How long a writer beside a session of SQLite waits for whoever writes; it may be that session."""


class SessionLog(DatabaseLog):
    """A log in the database of a Flask-SQLAlchemy application, in its sessions' transactions.

    With a `bind_key` it is in the database of that bind.
    """

    def __init__(
        self,
        engine: Callable[[], sa.Engine],
        db: SQLAlchemy,
        on_commit: OnCommit,
        on_publish: OnCommit = tell_nobody,
        *,
        bind_key: str | None = None,
        listen_url: str | None = None,
    ) -> None:
        metadata = metadata_of(db, bind_key)
        self._init(on_commit, on_publish, listen_url, metadata.schema)
        self._find_engine = engine
        self._is_main = bind_key is None
        self._db = db
        key = f"{metadata.schema}.live_log" if metadata.schema else "live_log"
        self._clause = metadata.tables.get(key, tables.live_log)
        """What Flask-SQLAlchemy's sessions find the bind by."""

    def engine(self) -> sa.Engine:
        if self._engine is None:  # which takes an application context
            self._engine = self._find_engine()
        return self._engine

    def check(self) -> None:
        engine = self.engine()
        tables.check_dialect(engine.dialect.name)
        if engine.dialect.name == "sqlite" and self.schema is not None:
            raise ConfigurationError(
                f"live events cannot be in an attached database of SQLite ({self.schema!r}, the "
                f"schema of db.metadata): give them a bind, or a database_url of their own"
            )
        level = engine.get_execution_options().get("isolation_level")
        if "AUTOCOMMIT" in (level, getattr(engine.dialect, "_on_connect_isolation_level", None)):
            raise not_transactional()

    def publish(self, draft: Draft, session: object = None) -> None:
        transaction.publish(self._session(session), draft, self)

    def publish_now(self, draft: Draft) -> None:
        connection = self._in_use()
        if connection is not None and self._is_writer(connection):
            raise TransactionEnded(
                "an event cannot be committed by itself while the session's own transaction keeps "
                "SQLite locked: publish it without now=True, or commit the session before"
            )
        super().publish(draft)

    def publish_buffered(self, draft: Draft) -> None:
        if tables.in_memory(self.engine().url):
            # All threads share one connection, and its transaction.
            self.publish(draft)
        else:
            super().publish_buffered(draft)

    def connection_of(self, session: Session) -> sa.Connection:
        """Return the session's connection to the log's database, in its transaction."""
        return session.connection(bind_arguments={"clause": self._clause})

    def write_with_commit(
        self, session: Session, take: Callable[[], Sequence[Draft]]
    ) -> Callable[[], None] | None:
        # With several databases none may have been committed when an event cannot be written.
        if self.engine().dialect.driver != "psycopg" or session.twophase or not self._is_main:
            return None
        from flasknado.live.log import with_commit

        bind = session.get_bind(clause=self._clause)
        if not isinstance(bind, sa.Engine) or bind.dialect.driver != "psycopg":
            return None  # the first is a transaction that the session does not commit
        connection = session.connection(bind_arguments={"bind": bind})
        driver: Any = connection.connection.dbapi_connection
        if getattr(driver, "autocommit", False) is True:
            raise not_transactional()
        return with_commit.attach(connection, take, self.schema)

    def cursor(self) -> Cursor:
        session = self._session()
        if session.in_transaction() and not _takes_statements(session):
            return super().cursor()
        connection = self.connection_of(session)
        cursor = tables.read_head(connection, self.schema)
        if cursor is not None:
            return cursor
        # Beside the session's transaction, so that it stays whatever becomes of that.
        if not self._is_writer(connection):
            return super().cursor()
        tables.create_log(connection)
        cursor = tables.read_head(connection)
        assert cursor is not None
        return cursor

    def append(self, drafts: Sequence[Draft]) -> Cursor | None:
        connection = self._in_use()
        if connection is not None and self._is_writer(connection):
            for draft in drafts:
                self.publish(draft)
            return None
        return super().append(drafts)

    def writes_elsewhere(self) -> bool:
        connection = self._in_use()
        return connection is not None and self._is_writer(connection)

    def _session(self, session: Any = None) -> Session:
        chosen = self._db.session if session is None else session
        if isinstance(chosen, scoped_session):
            chosen = chosen()
        assert isinstance(chosen, Session)
        return chosen

    def _in_use(self) -> sa.Connection | None:
        """Return the connection of `db.session` whose transaction may keep SQLite locked."""
        session = self._session()
        if self.engine().dialect.name != "sqlite":
            return None
        if session.in_transaction() and _takes_statements(session):
            return self.connection_of(session)
        return None

    def _is_writer(self, connection: sa.Connection) -> bool:
        """Return whether any other connection's write would wait for this one's transaction."""
        if tables.in_memory(connection.engine.url):
            return True
        if connection.dialect.name != "sqlite":
            return False
        driver = sqlite.driver_of(connection)
        if not driver.in_transaction or sqlite.begins_before_writes(driver):
            return bool(driver.in_transaction)
        # It has begun to read at least; whether it has written SQLite does not say.
        with self._own.open() as other:
            other.exec_driver_sql(f"PRAGMA busy_timeout = {round(BESIDE_TIMEOUT_S * 1000)}")
            try:
                other.exec_driver_sql("BEGIN IMMEDIATE")
            except sa.exc.OperationalError:
                return True
            other.exec_driver_sql("ROLLBACK")
            return False


def metadata_of(db: SQLAlchemy, bind_key: str | None) -> sa.MetaData:
    """Return the metadata of a bind's tables, made if there is none yet."""
    return db.metadatas.setdefault(bind_key, sa.MetaData(info={"bind_key": bind_key}))


def _takes_statements(session: Session) -> bool:
    """Return whether the session's transaction has not been committed or rolled back."""
    current = session.get_nested_transaction() or session.get_transaction()
    return current is not None and current.is_active
