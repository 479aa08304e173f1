"""A log in a database, SQLite or PostgreSQL: the application's own, or one of its own.

In the application's database an event joins the session's transaction. In another one
`publish()` commits by itself. On PostgreSQL events get their offsets after the commit, by the
sequencer of one of the processes (`flasknado.live.log.sequencer`).

A follower has a connection of its own, outside every pool. On SQLite it learns of other
processes' commits from `PRAGMA data_version`; on PostgreSQL from NOTIFY, and by looking now
and then in case one was lost.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Session, scoped_session

from flasknado.errors import ConfigurationError
from flasknado.live.event import Cursor, Event
from flasknado.live.log import outbox, postgres, presence, retention, tables, transaction
from flasknado.live.log.base import READER_BUSY_TIMEOUT_S, Busy, Follower, Log, OnCommit
from flasknado.live.log.buffered import Buffer, Take
from flasknado.live.log.presence import Key, Presence, Seen
from flasknado.live.log.sequencer import Sequencer
from flasknado.live.log.tables import Batch, Draft, DraftWith
from flasknado.live.log.wakeup import Wakeup
from flasknado.live.options import LiveOptions

if TYPE_CHECKING:
    from flask_sqlalchemy import SQLAlchemy

log = logging.getLogger("flasknado.live")

WRITER_BUSY_TIMEOUT_S = 10
READ_LIMIT_BYTES = 1024 * 1024
LOOKING_POLL_S = 0.02
"""How often the outbox is looked at where the driver cannot be notified."""
LISTENING_POLL_S = 1.0
"""How often a listener looks although nothing has been notified."""
POOL_TIMEOUT_S = 10
"""How long a publisher waits for a connection to the log's own database."""


def _nothing(events: Sequence[Event]) -> None:
    """Nobody has to be told."""


class DatabaseLog(Log):
    """A log in a database of its own. Its tables are made when they are first needed."""

    def __init__(self, url: str, on_commit: OnCommit, on_publish: OnCommit = _nothing) -> None:
        self._init(on_commit, on_publish)
        self._url = _with_driver(sa.make_url(url))
        tables.check_dialect(self._url.get_backend_name())
        if tables.in_memory(self._url):
            raise ConfigurationError(
                "an in-memory SQLite database is visible to one connection only: give the live "
                "events a file, or memory:// for one process"
            )

    def _init(self, on_commit: OnCommit, on_publish: OnCommit) -> None:
        self._on_commit = on_commit
        self._on_publish = on_publish
        self._lock = threading.Lock()
        self._engine: sa.Engine | None = None
        self._sequencer: Sequencer | None = None
        self._buffer = Buffer(self._append_buffered)

    def engine(self) -> sa.Engine:
        """Return the engine of the log's database. May be called on any thread."""
        with self._lock:
            if self._engine is None:
                self._engine = _engine_with_tables(self._url)
            return self._engine

    def publish(self, draft: Draft, session: object = None) -> None:
        if session is not None:
            raise ConfigurationError(
                "the live log has its own database, which the application's sessions do not "
                "use: publish without a session"
            )
        taken = self._buffer.take_own()
        try:
            with self.engine().begin() as connection:
                events = outbox.write(connection, [*taken, draft])
        except BaseException:
            self._buffer.put_back(taken)
            raise
        self._committed(events)

    def publish_buffered(self, draft: Draft) -> None:
        self._buffer.add(draft)

    def _append_buffered(self, take: Take) -> None:
        with self.engine().begin() as connection:
            if connection.dialect.name == "sqlite":
                # The right to write, before anything is taken: who has it may be waiting for
                # what was taken.
                tables.lock_log(connection)
            drafts = [
                draft
                for draft in take()
                if not isinstance(draft, DraftWith) or draft.goes_with(connection)
            ]
            events = outbox.write(connection, drafts)
        self._committed(events)

    @contextlib.contextmanager
    def appending(self) -> Iterator[tuple[sa.Connection, list[Draft]]]:
        """Begin and commit a transaction of its own; what is put into the list is appended in it.

        On SQLite it has the right to write from the beginning.
        """
        drafts: list[Draft] = []
        with self._read_committed() as connection:
            if connection.dialect.name == "sqlite":
                tables.lock_log(connection)
            yield connection, drafts
            events = outbox.write(connection, drafts)
        if events:
            self._committed(events)

    def writes_elsewhere(self) -> bool:
        """Return whether the calling thread's session keeps `appending()` from writing."""
        return False

    def flush(self) -> None:
        self._buffer.flush()

    def _committed(self, events: Sequence[Event]) -> None:
        """Tell of events that have been committed, with offsets or without."""
        if events and events[0].offset == outbox.NO_OFFSET:
            self._on_publish(events)
            self._its_sequencer().wake()
        else:
            self._on_commit(events)

    def _its_sequencer(self) -> Sequencer:
        with self._lock:
            if self._sequencer is None:
                self._sequencer = Sequencer(
                    self._own_connection, lambda: self._on_commit(()), LOOKING_POLL_S
                )
            return self._sequencer

    def close(self) -> None:
        self._buffer.close()
        with self._lock:
            sequencer = self._sequencer
        if sequencer is not None:
            sequencer.close()

    def cursor(self) -> Cursor:
        with self.engine().begin() as connection:
            cursor = tables.read_head(connection)
            if cursor is None:
                tables.create_log(connection)
                cursor = tables.read_head(connection)
                assert cursor is not None
            return cursor

    def settle(self) -> None:
        engine = self.engine()
        more = engine.dialect.name == "postgresql"
        while more:
            with self._read_committed() as connection:
                more = outbox.pending(connection, None) and outbox.number(connection).more

    def read(self, after: int, channels: Collection[str], limit_events: int) -> Batch:
        self.settle()  # who reads without a server may be the only one to do it
        with self._read_committed() as connection:
            if tables.read_head(connection) is None:
                tables.create_log(connection)
            return tables.read(
                connection,
                after,
                channels,
                limit_events=limit_events,
                limit_bytes=READ_LIMIT_BYTES,
            )

    def newest_buffered(self, channel: str) -> Event | None:
        with self.engine().connect() as connection:
            events = tables.read_newest(connection, channel, 1, buffered=True)
        return events[0] if events else None

    def presence(self, channel: str) -> Presence:
        with self.engine().connect() as connection:
            return presence.read(connection, channel)

    def ping(self) -> None:
        with self.engine().connect() as connection:
            connection.execute(sa.select(sa.literal(1)))

    def append(self, drafts: Sequence[Draft]) -> Cursor | None:
        with self._read_committed() as connection:
            if connection.dialect.name == "postgresql":
                cursor = outbox.append(connection, drafts)
                events = [Event(outbox.NO_OFFSET, *draft[:3]) for draft in drafts]
            else:
                epoch, events = tables.append(connection, drafts)
                cursor = Cursor(epoch, events[-1].offset)
        self._on_commit(events)
        return cursor

    @contextlib.contextmanager
    def _read_committed(self) -> Iterator[sa.Connection]:
        """Begin and commit a transaction in which each statement sees what is committed by then."""
        with self.engine().connect() as connection:
            if connection.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                yield connection

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
                "live events cannot be followed in an in-memory SQLite database, which only one "
                "connection can see: give the application a database file"
            )
        tables.check_dialect(engine.dialect.name)
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(self._own_connection())
            kind: type[DatabaseFollower] = SQLiteFollower
            if engine.dialect.name == "postgresql":
                kind = PostgresFollower
            follower = kind(connection, wakeup, options, self._committed, busy_timeout_s)
            if listening:
                follower.listen()
                if engine.dialect.name == "postgresql":
                    stack.enter_context(self._its_sequencer().standing())
            if tables.read_head(connection) is None:
                tables.create_log(connection)
            yield follower

    @contextlib.contextmanager
    def _own_connection(self) -> Iterator[sa.Connection]:
        """Open a connection outside every pool that commits each statement by itself."""
        engine = self.engine()
        with contextlib.ExitStack() as stack:
            with postgres.limited_waits(engine):
                connection = _outside_the_pool(engine).connect()
            driver: Any = connection.connection.dbapi_connection
            # SQLAlchemy forgets a detached connection that is lost without closing it.
            stack.callback(driver.close)
            stack.enter_context(connection)
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
            yield connection


class SessionLog(DatabaseLog):
    """A log in the database of a Flask-SQLAlchemy application, in its sessions' transactions."""

    def __init__(
        self,
        engine: Callable[[], sa.Engine],
        db: SQLAlchemy,
        on_commit: OnCommit,
        on_publish: OnCommit = _nothing,
    ) -> None:
        self._init(on_commit, on_publish)
        self._find_engine = engine
        self._db = db

    def engine(self) -> sa.Engine:
        if self._engine is None:  # which takes an application context
            self._engine = self._find_engine()
        return self._engine

    def publish(self, draft: Draft, session: object = None) -> None:
        transaction.publish(self._session(session), draft, self._committed, self._buffer)

    def publish_buffered(self, draft: Draft) -> None:
        if tables.in_memory(self.engine().url):
            # All threads share one connection, and its transaction.
            self.publish(draft)
        else:
            super().publish_buffered(draft)

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

    def writes_elsewhere(self) -> bool:
        session = self._session()
        if not session.in_transaction():
            return False
        return _only_writer(session.connection(bind_arguments={"clause": tables.live_log}))

    def _session(self, session: Any = None) -> Session:
        chosen = self._db.session if session is None else session
        if isinstance(chosen, scoped_session):
            chosen = chosen()
        assert isinstance(chosen, Session)
        return chosen


class DatabaseFollower(Follower, ABC):
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
        self._allowance = retention.AgeAllowance(options.retention_s, options.prune_interval_s)
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
            events = outbox.write(connection, drafts)
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

    @abstractmethod
    def _prune(self, batch_events: int, allowance: retention.AgeAllowance | None) -> int:
        """Do as `prune` says, with the allowance for what is old if there is one."""

    def prune(self, batch_events: int, *, everything: bool = False) -> int:
        with _busy():
            return self._prune(batch_events, None if everything else self._allowance)

    def gone_back(self, followed: Cursor) -> None:
        tables.renew_epoch(self._connection, followed)


class SQLiteFollower(DatabaseFollower):
    """Asks SQLite every few milliseconds whether the file has changed, which costs 3 us."""

    # At once as a writer: one that has read before may not write if another did meanwhile.
    _begin = "BEGIN IMMEDIATE"
    _version: int | None = None
    _cut: int | None = None
    """Up to where it is pruning."""

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

    def _prune(self, batch_events: int, allowance: retention.AgeAllowance | None) -> int:
        if self._cut is None:
            self._cut = retention.cut_of(self._connection, self._options, allowance)
        deleted = retention.prune_batch(self._connection, self._options, batch_events, self._cut)
        if deleted < batch_events:
            self._cut = None
        return deleted


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

    def append(self, drafts: Sequence[Draft]) -> None:
        with self._transaction() as connection:
            # What a follower appends may be lost in a crash of the database, so nobody waits
            # for the disk.
            connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            events = outbox.write(connection, drafts)
        self._on_commit(events)

    def _prune(self, batch_events: int, allowance: retention.AgeAllowance | None) -> int:  # noqa: ARG002
        connection, options = self._connection, self._options
        cut = retention.cut_of(connection, options, allowance)
        pruned = retention.raise_floor(connection, cut)
        for table in retention.expired_tables(connection, options):
            with self._transaction():
                retention.empty(connection, table, options)
        return pruned

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
        log.warning("the database could not be switched to WAL mode: %s", error)


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
