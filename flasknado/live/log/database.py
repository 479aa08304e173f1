"""A log in a database, SQLite or PostgreSQL: the application's own, or one of its own.

In the application's database an event joins the session's transaction. In another one
`publish()` commits by itself.

A follower has a connection of its own, outside every pool. On SQLite it learns of other
processes' commits from `PRAGMA data_version`; on PostgreSQL from NOTIFY, and by looking now
and then in case one was lost.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Session, scoped_session

from flasknado.errors import ConfigurationError
from flasknado.live.event import Cursor, Event
from flasknado.live.log import postgres, presence, tables, transaction
from flasknado.live.log.base import READER_BUSY_TIMEOUT_S, Busy, Follower, Log, OnCommit
from flasknado.live.log.presence import Key, Presence, Seen
from flasknado.live.log.tables import Batch, Draft
from flasknado.live.log.wakeup import Wakeup
from flasknado.live.options import LiveOptions

if TYPE_CHECKING:
    from flask_sqlalchemy import SQLAlchemy

log = logging.getLogger("flasknado.live")

WRITER_BUSY_TIMEOUT_S = 10
READ_LIMIT_BYTES = 1024 * 1024
LISTENING_POLL_S = 1.0
"""How often a listener looks although nothing has been notified."""
POOL_TIMEOUT_S = 10
"""How long a publisher waits for a connection to the log's own database."""


class DatabaseLog(Log):
    """A log in a database of its own. Its tables are made when they are first needed."""

    def __init__(self, url: str, on_commit: OnCommit) -> None:
        self._url = _with_driver(sa.make_url(url))
        tables.check_dialect(self._url.get_backend_name())
        if tables.in_memory(self._url):
            raise ConfigurationError(
                "a SQLite database in memory is seen by one connection only: give the live "
                "events a file, or memory:// for one process"
            )
        self._on_commit = on_commit
        self._engine: sa.Engine | None = None
        self._lock = threading.Lock()

    def engine(self) -> sa.Engine:
        """Return the engine of the log's database. May be called on any thread."""
        with self._lock:
            if self._engine is None:
                self._engine = _engine_with_tables(self._url)
            return self._engine

    def publish(self, draft: Draft, session: object = None) -> None:
        if session is not None:
            raise ConfigurationError(
                "live events have a database of their own, which no session of the "
                "application's is a part of: publish without one"
            )
        self.append([draft])

    def cursor(self) -> Cursor:
        with self.engine().begin() as connection:
            cursor = tables.read_head(connection)
            if cursor is None:
                tables.create_log(connection)
                cursor = tables.read_head(connection)
                assert cursor is not None
            return cursor

    def read(self, after: int, channels: Collection[str], limit_events: int) -> Batch:
        with self.engine().begin() as connection:
            if tables.read_head(connection) is None:
                tables.create_log(connection)
            return tables.read(
                connection,
                after,
                channels,
                limit_events=limit_events,
                limit_bytes=READ_LIMIT_BYTES,
            )

    def presence(self, channel: str) -> Presence:
        with self.engine().connect() as connection:
            return presence.read(connection, channel)

    def ping(self) -> None:
        with self.engine().connect() as connection:
            connection.execute(sa.select(sa.literal(1)))

    def append(self, drafts: Sequence[Draft]) -> Cursor | None:
        with self.engine().begin() as connection:
            epoch, events = tables.append(connection, drafts)
        self._on_commit(events)
        return Cursor(epoch, events[-1].offset)

    @contextlib.contextmanager
    def following(
        self,
        wakeup: Wakeup,
        options: LiveOptions,
        *,
        busy_timeout_s: float = READER_BUSY_TIMEOUT_S,
        listening: bool = True,
    ) -> Iterator[Follower]:
        engine = self.engine()
        if tables.in_memory(engine.url):
            raise ConfigurationError(
                "live events cannot be followed in a SQLite database in memory, which only one "
                "connection can see: give the application a database file"
            )
        tables.check_dialect(engine.dialect.name)
        kind = SQLiteFollower if engine.dialect.name == "sqlite" else PostgresFollower
        with contextlib.ExitStack() as stack:
            with postgres.limited_waits(engine):
                connection = _outside_the_pool(engine).connect()
            driver: Any = connection.connection.dbapi_connection
            # SQLAlchemy forgets a detached connection that is lost without closing it.
            stack.callback(driver.close)
            stack.enter_context(connection)
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
            follower = kind(connection, wakeup, options, self._on_commit, busy_timeout_s)
            if listening:
                follower.listen()
            if tables.read_head(connection) is None:
                tables.create_log(connection)
            yield follower


class SessionLog(DatabaseLog):
    """A log in the database of a Flask-SQLAlchemy application, in its sessions' transactions."""

    def __init__(self, engine: Callable[[], sa.Engine], db: SQLAlchemy, on_commit: OnCommit):
        self._find_engine = engine
        self._db = db
        self._on_commit = on_commit

    def engine(self) -> sa.Engine:
        return self._find_engine()

    def publish(self, draft: Draft, session: object = None) -> None:
        transaction.publish(self._session(session), draft, self._on_commit)

    def cursor(self) -> Cursor:
        connection = self._session().connection(bind_arguments={"clause": tables.live_log})
        cursor = tables.read_head(connection)
        if cursor is None:
            _create_log_for_good(connection)
            cursor = tables.read_head(connection)
            assert cursor is not None
        return cursor

    def append(self, drafts: Sequence[Draft]) -> Cursor | None:
        session = self._session()
        if session.in_transaction():
            connection = session.connection(bind_arguments={"clause": tables.live_log})
            if _only_writer(connection):
                for draft in drafts:
                    self.publish(draft)
                return None
        return super().append(drafts)

    def _session(self, session: Any = None) -> Session:
        chosen = self._db.session if session is None else session
        if isinstance(chosen, scoped_session):
            chosen = chosen()
        assert isinstance(chosen, Session)
        return chosen


class DatabaseFollower(Follower):
    """A follower with a connection that commits each statement by itself."""

    _begin: ClassVar[str] = "BEGIN"

    def __init__(
        self,
        connection: sa.Connection,
        wakeup: Wakeup,
        options: LiveOptions,
        on_commit: OnCommit,
        busy_timeout_s: float,
    ) -> None:
        self._connection = connection
        self._on_commit = on_commit
        self._wakeup = wakeup
        self._options = options
        self._prepare(busy_timeout_s)

    def _prepare(self, busy_timeout_s: float) -> None:
        """Set the connection up."""

    def listen(self) -> None:
        """Have `wait()` end when another process has committed, where the database tells."""

    def bounds(self) -> Batch:
        return tables.read_bounds(self._connection)

    def read(
        self,
        after: int,
        channels: Collection[str] | None,
        *,
        limit_events: int,
        limit_bytes: int,
    ) -> Batch:
        return tables.read(
            self._connection, after, channels, limit_events=limit_events, limit_bytes=limit_bytes
        )

    def newest(self, channel: str, limit_events: int) -> list[Event]:
        return tables.read_newest(self._connection, channel, limit_events)

    def append(self, drafts: Sequence[Draft]) -> None:
        with self._transaction() as connection:
            _, events = tables.append(connection, drafts)
        self._on_commit(events)

    def see(self, worker: str, changes: Mapping[Key, int]) -> Seen:
        with self._transaction() as connection:
            return presence.see(connection, worker, changes)

    def forget(self, worker: str) -> set[str]:
        with self._transaction() as connection:
            return presence.forget(connection, [worker])

    def presence(self, channel: str) -> Presence:
        return presence.read(self._connection, channel)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        """Begin and commit a transaction that writes; raises `Busy`."""
        with _busy():
            self._connection.exec_driver_sql(self._begin)
            try:
                yield self._connection
                self._connection.exec_driver_sql("COMMIT")
            except BaseException:
                if not self._connection.invalidated:
                    self._connection.exec_driver_sql("ROLLBACK")
                raise

    def prune(self, batch_events: int) -> int:
        with _busy():
            return tables.prune(
                self._connection,
                retention_events=self._options.retention_events,
                retention_s=self._options.retention_s,
                batch_events=batch_events,
            )

    def gone_back(self, followed: Cursor) -> None:
        tables.renew_epoch(self._connection, followed)


class SQLiteFollower(DatabaseFollower):
    """Asks SQLite every few milliseconds whether the file has changed, which costs 3 us."""

    # At once as a writer: one that has read before may not write if another did meanwhile.
    _begin = "BEGIN IMMEDIATE"
    _version: int | None = None

    def _prepare(self, busy_timeout_s: float) -> None:
        self._connection.exec_driver_sql(f"PRAGMA busy_timeout = {round(busy_timeout_s * 1000)}")
        _use_wal(self._connection)

    def wait(self) -> None:
        self._wakeup.wait(self._options.poll_s)

    def changed(self) -> bool:
        # Noted before the read, so a commit between them is seen next time.
        version = self._connection.exec_driver_sql("PRAGMA data_version").scalar_one()
        changed: bool = version != self._version
        self._version = version
        return changed

    def append(self, drafts: Sequence[Draft]) -> None:
        super().append(drafts)
        self._version = None  # it does not count this connection's own commits


class PostgresFollower(DatabaseFollower):
    """Listens for NOTIFY through psycopg 3; with another driver it looks every few milliseconds."""

    _notified = False
    _files: tuple[int, ...] = ()

    def _prepare(self, busy_timeout_s: float) -> None:
        # Publishers may keep the log's row locked; nobody who reads waits for them.
        lock_timeout_ms = max(1, round(busy_timeout_s * 1000))
        self._connection.exec_driver_sql(f"SET lock_timeout = {lock_timeout_ms}")

    def listen(self) -> None:
        if self._connection.dialect.driver != "psycopg":
            return
        driver: Any = self._connection.connection.dbapi_connection
        driver.add_notify_handler(self._on_notify)
        self._connection.exec_driver_sql(f"LISTEN {tables.NOTIFY_CHANNEL}")
        self._files = (driver.fileno(),)

    def _on_notify(self, notification: object) -> None:  # noqa: ARG002
        # Called while a statement runs, which may have begun before that commit.
        self._notified = True

    def wait(self) -> None:
        if not self._notified:
            timeout_s = self._options.poll_s
            if self._files:
                timeout_s = max(timeout_s, LISTENING_POLL_S)
            self._wakeup.wait(timeout_s, self._files)

    def changed(self) -> bool:
        self._notified = False
        return True


@contextlib.contextmanager
def _busy() -> Iterator[None]:
    """Turn what cannot be done at present, on a connection that lives, into `Busy`."""
    try:
        yield
    except sa.exc.OperationalError as error:
        if error.connection_invalidated:
            raise
        raise Busy(str(error)) from error


def _outside_the_pool(engine: sa.Engine) -> sa.Engine:
    """Return the engine with an empty pool: every connection of the other may be in use."""
    alone = copy.copy(engine)
    alone.pool = engine.pool.recreate()
    return alone


def _use_wal(connection: sa.Connection) -> None:
    try:
        # Without it readers and writers shut each other out. It stays with the file.
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    except sa.exc.OperationalError as error:
        log.warning("the database could not be put into WAL mode: %s", error)


def _only_writer(connection: sa.Connection) -> bool:
    """Return whether any other connection's write would wait for this one's transaction."""
    if tables.in_memory(connection.engine.url):
        return True
    driver: Any = connection.connection.dbapi_connection
    return connection.dialect.name == "sqlite" and bool(driver.in_transaction)


def _create_log_for_good(connection: sa.Connection) -> None:
    """Create the log's row so that it stays, whatever becomes of the connection's transaction."""
    if _only_writer(connection):
        tables.create_log(connection)
        return
    with connection.engine.begin() as other:
        tables.create_log(other)


def _with_driver(url: sa.URL) -> sa.URL:
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    return url


def _engine_with_tables(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(url, connect_args={"timeout": WRITER_BUSY_TIMEOUT_S})
    else:
        engine = sa.create_engine(url, pool_pre_ping=True, pool_timeout=POOL_TIMEOUT_S)
        postgres.limit_waits(engine)
    try:
        tables.metadata.create_all(engine)
    except (sa.exc.OperationalError, sa.exc.ProgrammingError, sa.exc.IntegrityError):
        # Another process made them in the meantime, or else this says what is wrong.
        tables.metadata.create_all(engine)
    return engine
