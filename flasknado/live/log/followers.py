"""Following a log in a database: one connection, used on one thread. Blocking; no Tornado.

On SQLite it learns of other processes' commits from `PRAGMA data_version`; on PostgreSQL from
NOTIFY, and by looking now and then in case one was lost.
"""

from __future__ import annotations

import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import sqlalchemy as sa

from flasknado.live.event import Cursor, Event
from flasknado.live.log import outbox, postgres, presence, retention, tables
from flasknado.live.log.base import Busy, Follower, OnCommit
from flasknado.live.log.channel_retention import NOTHING_SWEPT, Sweep, Swept
from flasknado.live.log.presence import Change, Key, Presence, Seen, Strays
from flasknado.live.log.tables import Batch, Draft
from flasknado.live.log.wakeup import Wakeup
from flasknado.live.options import LiveOptions

log = logging.getLogger("flasknado.live")

LISTENING_POLL_S = 1.0
"""How often a listener looks although nothing has been notified."""


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
        self._sweep = Sweep(options)
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

    def announce(
        self, changes: Mapping[Key, str | None], gone: Collection[Key]
    ) -> Sequence[Change]:
        with self._transaction() as connection:
            return presence.announce(connection, changes, gone)

    def strays(self, worker: str, limit: int) -> Strays:
        return presence.strays(self._connection, worker, limit)

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

    def sweep(self, batch_events: int) -> Swept:
        if not self._sweep.enabled:
            return NOTHING_SWEPT
        with self._transaction() as connection:
            return self._sweep.step(connection, batch_events)

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
        with self._transaction() as connection:
            deleted = retention.prune_batch(connection, self._options, batch_events, self._cut)
        if deleted < batch_events:
            self._cut = None
        return deleted


class PostgresFollower(DatabaseFollower):
    """Listens for NOTIFY through psycopg 3; with another driver it looks every few milliseconds.

    So it does where its session is `shared` with others by a pooler.
    """

    _begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
    _notified = False
    _files: tuple[int, ...] = ()

    def __init__(self, *arguments: Any, shared: bool = False) -> None:
        self._shared = shared
        super().__init__(*arguments)

    def _prepare(self, busy_timeout_s: float) -> None:
        # Publishers may keep the log's row locked; nobody who reads waits for them.
        self._lock_timeout = f"lock_timeout = {max(1, round(busy_timeout_s * 1000))}"
        if not self._shared:
            self._connection.exec_driver_sql(f"SET {self._lock_timeout}")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with super()._transaction() as connection:
            if self._shared:
                connection.exec_driver_sql(f"SET LOCAL {self._lock_timeout}")
            yield connection

    def listen(self) -> None:
        if self._connection.dialect.driver != "psycopg" or self._shared:
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
        if self._files:
            postgres.take_notifications(self._connection.connection.dbapi_connection)
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


def _use_wal(connection: sa.Connection) -> None:
    try:
        # Without it readers and writers shut each other out. It stays with the file.
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    except sa.exc.OperationalError as error:
        log.warning("the database could not be switched to WAL mode: %s", error)
