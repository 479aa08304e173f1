"""A log in a database, SQLite or PostgreSQL, whose `publish()` commits by itself.

On PostgreSQL events get their offsets after the commit, by the sequencer of one of the processes
(`flasknado.live.log.sequencer`). `flasknado.live.log.session_log` joins the transactions of an
application's sessions.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from flasknado.errors import ConfigurationError
from flasknado.live.event import Cursor, Event
from flasknado.live.log import (
    connections,
    origin,
    outbox,
    postgres,
    presence,
    sql_publish,
    tables,
)
from flasknado.live.log.base import READER_BUSY_TIMEOUT_S, Follower, Log, OnCommit
from flasknado.live.log.buffered import Buffer, Take
from flasknado.live.log.connections import OwnConnections
from flasknado.live.log.followers import DatabaseFollower, PostgresFollower, SQLiteFollower
from flasknado.live.log.presence import Presence
from flasknado.live.log.sequencer import Sequencer
from flasknado.live.log.tables import Batch, Draft, DraftWith
from flasknado.live.log.wakeup import Wakeup
from flasknado.live.options import LiveOptions

if TYPE_CHECKING:
    pass

log = logging.getLogger("flasknado.live")

WRITER_BUSY_TIMEOUT_S = 10
READ_LIMIT_BYTES = 1024 * 1024
LOOKING_POLL_S = 0.02
"""How often the outbox is looked at where the driver cannot be notified."""
POOL_TIMEOUT_S = 10
"""How long a publisher waits for a connection to the log's own database."""


def tell_nobody(events: Sequence[Event]) -> None:
    """Nobody has to be told."""


class DatabaseLog(Log):
    """A log in a database of its own. Its tables are made when they are first needed."""

    def __init__(
        self,
        url: str,
        on_commit: OnCommit,
        on_publish: OnCommit = tell_nobody,
        *,
        listen_url: str | None = None,
    ) -> None:
        self._init(on_commit, on_publish, listen_url)
        self._url = connections.with_driver(sa.make_url(url))
        tables.check_dialect(self._url.get_backend_name())
        if tables.in_memory(self._url):
            raise ConfigurationError(
                "an in-memory SQLite database is visible to one connection only: give the live "
                "events a file, or memory:// for one process"
            )

    def _init(
        self,
        on_commit: OnCommit,
        on_publish: OnCommit,
        listen_url: str | None,
        schema: str | None = None,
    ) -> None:
        self.schema = schema
        self._own = OwnConnections(self.engine, listen_url, schema)
        self._on_commit = on_commit
        self._on_publish = on_publish
        self._lock = threading.Lock()
        self._engine: sa.Engine | None = None
        self._sequencer: Sequencer | None = None
        self.buffer = Buffer(self._append_buffered)

    def engine(self) -> sa.Engine:
        """Return the engine of the log's database. May be called on any thread."""
        with self._lock:
            if self._engine is None:
                self._engine = _engine_with_tables(self._url)
                # Nobody else knows of it; Python and psycopg warn of connections that are dropped.
                weakref.finalize(self, self._engine.dispose).atexit = False
            return self._engine

    def publish(self, draft: Draft, session: object = None) -> None:
        if session is not None:
            raise ConfigurationError(
                "the live log has its own database, which the application's sessions do not "
                "use: publish without a session"
            )
        taken = self.buffer.take_own()
        try:
            with self.engine().begin() as connection:
                events = self.write(connection, [*taken, draft])
        except BaseException:
            self.buffer.put_back(taken)
            raise
        self.committed(events)

    def publish_now(self, draft: Draft) -> None:
        self.publish(draft)

    def write(self, connection: sa.Connection, drafts: Sequence[Draft]) -> list[Event]:
        """Write events in the connection's transaction; it belongs right before the commit."""
        driver: Any = connection.connection.dbapi_connection
        if getattr(driver, "autocommit", False) is True:
            raise not_transactional()
        events = outbox.write(connection, drafts, self.schema)
        if events and connection.dialect.name == "sqlite" and not driver.in_transaction:
            raise not_transactional()
        return events

    def publish_buffered(self, draft: Draft) -> None:
        self.buffer.add(draft)

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
            events = self.write(connection, drafts)
        self.committed(events)

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
            events = self.write(connection, drafts)
        if events:
            self.committed(events)

    def reading(self) -> contextlib.AbstractContextManager[sa.Connection]:
        """Begin a transaction of its own that reads what is committed, and end it."""
        return self._read_committed()

    def writes_elsewhere(self) -> bool:
        """Return whether the calling thread's session keeps `appending()` from writing."""
        return False

    def flush(self) -> None:
        self.buffer.flush()

    def committed(self, events: Sequence[Event]) -> None:
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
                    self._own.open,
                    lambda: self._on_commit(()),
                    LOOKING_POLL_S,
                    lambda: self._own.shared,
                )
            return self._sequencer

    def close(self) -> None:
        self.buffer.close()
        with self._lock:
            sequencer = self._sequencer
        if sequencer is not None:
            sequencer.close()
        self._own.close()

    def cursor(self) -> Cursor:
        with self._read_committed() as connection:
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
        self._check_origin()
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

    def _check_place(self, connection: sa.Connection) -> None:
        """Raise `ConfigurationError` if an own connection is not to the log's database."""
        if not self._own.elsewhere:
            return
        with self._read_committed() as other:
            there, here = tables.read_head(other), tables.read_head(connection)
        if there is None or here is None or there.epoch != here.epoch:
            raise ConfigurationError(
                "LIVE_LISTEN_DATABASE_URI is the URL of another database than the one in which "
                "live events are published: give the URL of that one, without the pooler between"
            )

    def _check_origin(self) -> None:
        with self.engine().connect() as connection:
            if not origin.is_checked(connection):
                places = {"schema_translate_map": {None: self.schema}} if self.schema else {}
                origin.check(connection.execution_options(isolation_level="AUTOCOMMIT", **places))

    def presence(self, channel: str) -> Presence:
        with self._read_committed() as connection:
            return presence.read(connection, channel)

    def newest(self, channel: str, limit_events: int) -> list[Event]:
        with self._read_committed() as connection:
            return tables.read_newest(connection, channel, limit_events)

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
                if connection.dialect.name == "postgresql":
                    connections.set_search_path(connection, self.schema, local=True)
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
            connection = stack.enter_context(self._own.open())
            if tables.read_head(connection) is None:
                tables.create_log(connection)
            follower: DatabaseFollower
            if engine.dialect.name == "postgresql":
                origin.check(connection)
                self._check_place(connection)
                follower = PostgresFollower(
                    connection,
                    wakeup,
                    options,
                    self.committed,
                    busy_timeout_s,
                    shared=self._own.shared,
                )
            else:
                follower = SQLiteFollower(
                    connection, wakeup, options, self.committed, busy_timeout_s
                )
            if listening:
                follower.listen()
                if engine.dialect.name == "postgresql":
                    stack.enter_context(self._its_sequencer().standing())
            yield follower


def not_transactional() -> ConfigurationError:
    """Return the error for an engine that commits rows before their events, or without them."""
    return ConfigurationError(
        "live events are committed with the rows that they tell of, which the isolation level "
        "AUTOCOMMIT of this engine rules out: choose another, or give them a database_url of their "
        "own"
    )


def _engine_with_tables(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(url, connect_args={"timeout": WRITER_BUSY_TIMEOUT_S})
    else:
        engine = sa.create_engine(url, pool_pre_ping=True, pool_timeout=POOL_TIMEOUT_S)
        postgres.limit_waits(
            engine, idle_in_transaction_timeout_s=postgres.IDLE_IN_TRANSACTION_TIMEOUT_S
        )
    try:
        tables.metadata.create_all(engine)
    except (sa.exc.OperationalError, sa.exc.ProgrammingError, sa.exc.IntegrityError):
        # Another process made them in the meantime, or else this says what is wrong.
        tables.metadata.create_all(engine)
    if engine.dialect.name == "postgresql":
        _create_function(engine)
    return engine


def _create_function(engine: sa.Engine) -> None:
    """Create `live_publish` in the log of an earlier version, if it may be created."""
    with engine.connect() as connection:
        known = sa.text("SELECT to_regprocedure('live_publish(text, text, jsonb, boolean)')")
        if connection.execute(known).scalar() is not None:
            return
        try:
            connection.exec_driver_sql(sql_publish.publish_function())
            connection.commit()
        except sa.exc.DBAPIError as error:
            # By another process meanwhile; or this one may not, and publishes all the same.
            log.info("the function live_publish has not been created: %s", error.orig)
