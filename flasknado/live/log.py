"""Following the log: one thread with one database connection in each process.

The loop never touches the database. It hands reads to this thread (`Reader.request`) and
gets everything back through one callback, in order: what the log says of new events, and
the answers to its requests. That order is what lets a subscriber join the live flow
without a gap or a duplicate, see `flasknado.live.hub`.

On SQLite the thread learns of other processes' commits from `PRAGMA data_version`; on other
databases it reads the head. A commit in this process wakes it at once (`Reader.wake`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import sqlalchemy as sa

from flasknado.errors import ConfigurationError
from flasknado.live import store
from flasknado.live.event import Cursor
from flasknado.live.options import LiveOptions
from flasknado.live.store import Batch

log = logging.getLogger("flasknado.live")

LIVE_BATCH_EVENTS = 100
LIVE_BATCH_BYTES = 256 * 1024
CATCH_UP_BATCH_EVENTS = 200
CATCH_UP_BATCH_BYTES = 64 * 1024
PRUNE_BATCH_EVENTS = 500
REPORTS_UNDERWAY = 8
REQUESTS_PER_TURN = 16
FIRST_RETRY_S = 0.1
MAX_RETRY_S = 5.0
BUSY_TIMEOUT_MS = 100


class Started(NamedTuple):
    """The log can be read, and live batches go on from this cursor.

    `unbroken` says that nothing was missed since the last live batch.
    """

    cursor: Cursor
    unbroken: bool


class Stopped(NamedTuple):
    """The log cannot be read at present; the reader goes on trying."""

    reason: str


class LiveBatch(NamedTuple):
    """The next events of the live flow."""

    batch: Batch


class Request:
    """A read that a subscriber needs: the bounds (`after` is `None`), or events after an offset."""

    __slots__ = ("after", "asker", "cancelled", "channels")

    def __init__(self, asker: object, channels: Collection[str], after: int | None) -> None:
        self.asker = asker
        self.channels = channels
        self.after = after
        self.cancelled = False
        """Set on the loop's thread when nobody waits for the answer any more."""


class Answer(NamedTuple):
    """The answer to a request."""

    request: Request
    batch: Batch


Report = Started | Stopped | LiveBatch | Answer


class Reader:
    """The thread that follows the log.

    `report(report)` is called on the loop's thread, in order; at most `REPORTS_UNDERWAY`
    are on their way there. `engine` is called on this thread. The thread ends with
    `stop()`, or when the loop is found closed.
    """

    def __init__(
        self,
        engine: Callable[[], sa.Engine],
        options: LiveOptions,
        loop: asyncio.AbstractEventLoop,
        report: Callable[[Report], object],
    ) -> None:
        self._engine = engine
        self._options = options
        self._loop = loop
        self._report = report
        self._requests: deque[Request] = deque()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._underway = threading.Semaphore(REPORTS_UNDERWAY)
        self._cursor: Cursor | None = None
        self._prune_at = time.monotonic() + options.prune_interval_s * random.uniform(0.5, 1.5)
        self._thread = threading.Thread(target=self._run, name="flasknado-live-log", daemon=True)

    def start(self) -> None:
        """Start the thread. Call it after forking."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread and wait for it."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout_s)

    def wake(self) -> None:
        """Have the log read now rather than at the next poll. May be called on any thread."""
        self._wake.set()

    def request(self, request: Request) -> None:
        """Have an `Answer` reported. May be called on any thread.

        Requests wait while the database does not answer; each subscriber has one at most.
        """
        self._requests.append(request)
        self._wake.set()

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while not self._stopping.is_set() and not self._loop.is_closed():
            began_at = time.monotonic()
            try:
                with _connected(self._engine()) as connection:
                    self._follow(connection)
            except Exception as error:
                if time.monotonic() - began_at > MAX_RETRY_S:
                    retry_s = FIRST_RETRY_S
                self._complain(error, retry_s)
                self._send(Stopped("the database of the live events does not answer"))
                self._stopping.wait(retry_s)
                retry_s = min(retry_s * 2, MAX_RETRY_S)

    def _complain(self, error: Exception, retry_s: float) -> None:
        expected = isinstance(error, (sa.exc.SQLAlchemyError, ConfigurationError))
        log.error(
            "the log of live events cannot be read, next try in %.1f s: %s",
            retry_s,
            error,
            exc_info=None if expected else error,
        )

    def _follow(self, connection: sa.Connection) -> None:
        self._start_from(store.read_bounds(connection))
        changes = _Changes(connection)
        more = True
        while not self._stopping.is_set() and not self._loop.is_closed():
            if not more:
                self._wake.wait(self._options.poll_s)
            self._wake.clear()
            # The version is noted before the read, so a commit between them is seen next time.
            if changes.seen() or more:
                more = self._read_live(connection)
            more = self._serve(connection) or more
            more = self._prune(connection) or more

    def _start_from(self, bounds: Batch) -> None:
        """Report that the log can be read, going on where the last connection ended."""
        unbroken = self._cursor is not None and bounds.resumable(self._cursor)
        if not unbroken:
            self._cursor = Cursor(bounds.epoch, bounds.head)
        assert self._cursor is not None
        self._send(Started(self._cursor, unbroken))

    def _read_live(self, connection: sa.Connection) -> bool:
        """Report the next events; return whether there are more."""
        assert self._cursor is not None
        after = self._cursor.offset
        batch = store.read(
            connection,
            after,
            None,
            limit_events=LIVE_BATCH_EVENTS,
            limit_bytes=LIVE_BATCH_BYTES,
        )
        # Offsets have no holes, so whatever is missing here was pruned before it was read.
        if not self._continues(batch) or batch.complete_to - after != len(batch.events):
            self._start_from_new(batch)
            return True
        if batch.events:
            self._cursor = Cursor(batch.epoch, batch.complete_to)
            self._send(LiveBatch(batch))
        return batch.complete_to < batch.head

    def _continues(self, batch: Batch) -> bool:
        """Return whether a read is of the log that has been followed, at its place or later."""
        cursor = self._cursor
        assert cursor is not None
        return batch.epoch == cursor.epoch and batch.head >= cursor.offset

    def _start_from_new(self, batch: Batch) -> None:
        log.warning(
            "the log of live events was replaced or pruned: at %s, it has %s:%d to %d; "
            "subscribers are told to reset",
            self._cursor,
            batch.epoch,
            batch.oldest,
            batch.head,
        )
        self._cursor = Cursor(batch.epoch, batch.head)
        self._send(Started(self._cursor, unbroken=False))

    def _serve(self, connection: sa.Connection) -> bool:
        """Answer some requests; return whether there are more."""
        requests = self._requests
        bounds: Batch | None = None
        # Counted before anything is read, so that those who ask for the bounds may share them.
        for _ in range(min(len(requests), REQUESTS_PER_TURN)):
            # Taken out after the read: a request outlives a lost connection.
            request = requests[0]
            if not request.cancelled:
                if request.after is None:
                    batch = bounds = bounds or store.read_bounds(connection)
                else:
                    batch = store.read(
                        connection,
                        request.after,
                        request.channels,
                        limit_events=CATCH_UP_BATCH_EVENTS,
                        limit_bytes=CATCH_UP_BATCH_BYTES,
                    )
                if not self._continues(batch):
                    self._start_from_new(batch)
                self._send(Answer(request, batch))
            requests.popleft()
        return bool(requests)

    def _prune(self, connection: sa.Connection) -> bool:
        """Delete old events now and then, in small batches; return whether there are more."""
        if time.monotonic() < self._prune_at:
            return False
        options = self._options
        try:
            deleted = store.prune(
                connection,
                retention_events=options.retention_events,
                retention_s=options.retention_s,
                batch_events=PRUNE_BATCH_EVENTS,
            )
        except sa.exc.OperationalError as error:
            if error.connection_invalidated:
                raise
            log.debug("pruning live events has to wait: %s", error)
            deleted = 0
        if deleted < PRUNE_BATCH_EVENTS:
            # Every process prunes, so that one may die; apart, so that they seldom meet.
            self._prune_at = time.monotonic() + options.prune_interval_s * random.uniform(0.5, 1.5)
            return False
        return True

    def _send(self, report: Report) -> None:
        """Give a report to the loop, waiting while too many are on their way."""
        while not self._underway.acquire(timeout=0.5):
            if self._stopping.is_set() or self._loop.is_closed():
                return
        with contextlib.suppress(RuntimeError):  # the loop has just closed
            self._loop.call_soon_threadsafe(self._arrive, report)

    def _arrive(self, report: Report) -> None:
        """Hand a report over; on the loop's thread."""
        self._underway.release()
        self._report(report)


@contextlib.contextmanager
def _connected(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a connection that does not belong to the engine's pool, and create the log."""
    if store.in_memory(engine.url):
        raise ConfigurationError(
            "live events cannot be followed in a SQLite database in memory, which only one "
            "connection can see: give the application a database file"
        )
    store.check_dialect(engine.dialect.name)
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.detach()
        if connection.dialect.name == "sqlite":
            _prepare_sqlite(connection)
        if store.read_head(connection) is None:
            store.create_log(connection)
        yield connection


def _prepare_sqlite(connection: sa.Connection) -> None:
    # Waiting for a writer would hold up every subscriber; pruning can be tried again.
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    try:
        # Without it readers and writers shut each other out. It stays with the file.
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    except sa.exc.OperationalError as error:
        log.warning("the database could not be put into WAL mode: %s", error)


class _Changes:
    """Whether the log may have changed since one asked last."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._sqlite = connection.dialect.name == "sqlite"
        self._version: int | None = None

    def seen(self) -> bool:
        """Return whether another connection, of any process, may have committed since."""
        if not self._sqlite:
            return True
        version = self._connection.exec_driver_sql("PRAGMA data_version").scalar_one()
        changed: bool = version != self._version
        self._version = version
        return changed
