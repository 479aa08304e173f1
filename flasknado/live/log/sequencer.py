"""The thread that gives events their offsets on PostgreSQL, or tells the one that does.

Of all processes that follow a log one is elected, by an advisory lock of its database session:
it moves what has been published into the log (`flasknado.live.log.outbox`), a batch in each
transaction. When its session ends, however that happens, another takes over at its next try.
The other processes tell it of their commits by NOTIFY, together and outside the application's
transactions; a process that only publishes has the thread while it does.

Behind a pooler that shares its sessions there is neither an election nor a NOTIFY: each process
moves what it has published itself, and looks for what others have left now and then.

The election is for speed alone. Whoever moves events holds the lock of the log's row, so two
that both take themselves for elected do no harm, and where the elected one hangs, another
moves what has waited for too long.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa

from flasknado.errors import ConfigurationError
from flasknado.live.log import outbox, postgres
from flasknado.live.log.wakeup import Wakeup

log = logging.getLogger("flasknado.live")

BATCH_INTERVAL_S = 0.005
"""The least time between two batches, and between two NOTIFY of a process."""
MAX_BATCH_INTERVAL_S = 0.01
ELECTION_INTERVAL_S = 0.4
"""How often each process that is not elected tries to be."""
LOOK_INTERVAL_S = 1.0
"""How often the elected one looks although nobody has told it to."""
IDLE_S = 5.0
"""How long a process that only publishes keeps its connection afterwards."""
RETRY_S = 0.5
STUCK_S = 5
"""How long one that hangs in its transaction, or waits for one that does, may do so."""
LEAVE_TIMEOUT_S = 2.0
APPLICATION_NAME = "flasknado sequencer"
"""What the elected session is called in `pg_stat_activity`, before its process's id."""

_LOCK_CLASS = 26219
_TRY_TO_LEAD = sa.text(
    f"SELECT pg_try_advisory_lock({_LOCK_CLASS},"
    " ('live_log'::regclass::oid::bigint % 2147483647)::int)"
)

_SETTINGS = (
    f"idle_in_transaction_session_timeout = '{STUCK_S}s'",
    f"lock_timeout = '{STUCK_S}s'",
    # The index is right however many dead rows there are, and the planner may not know.
    "enable_seqscan = off",
)

Connect = Callable[[], AbstractContextManager[sa.Connection]]
"""Opens a connection outside every pool that commits each statement by itself."""


class Sequencer:
    """A process's part in giving offsets, for one log. May be used on any thread.

    `on_numbered()` is called on its thread when events have got their offsets here. `poll_s` is
    how often it looks where the driver cannot be notified. `shared()` says, once connected,
    whether a pooler shares the database's sessions.
    """

    def __init__(
        self,
        connect: Connect,
        on_numbered: Callable[[], object],
        poll_s: float,
        shared: Callable[[], bool] = lambda: False,
    ) -> None:
        self._connect = connect
        self._on_numbered = on_numbered
        self._poll_s = poll_s
        self._shared = shared
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wakeup: Wakeup | None = None
        """The thread's; with the lock held, or on the thread."""
        self._candidacies = 0
        self._published = False
        """Whether something was published that the elected one has not been told of."""
        self._lingers_until = 0.0
        self.leading = False
        """Whether this process is the elected one."""

    def wake(self) -> None:
        """Note that a transaction that published has been committed."""
        self._after_fork()
        with self._lock:
            self._published = True
            self._lingers_until = time.monotonic() + IDLE_S
            self._run_on()

    @contextlib.contextmanager
    def standing(self) -> Iterator[None]:
        """Stand for election while the block runs."""
        self._after_fork()
        with self._lock:
            self._candidacies += 1
            self._run_on()
        try:
            yield
        finally:
            with self._lock:
                self._candidacies -= 1
                thread = None if self._candidacies else self._thread
            if thread is not None:
                self.close()

    def close(self) -> None:
        """Tell the elected one what it has not been told, and let the connection go.

        The next commit that publishes makes another.
        """
        with self._lock:
            self._lingers_until = 0.0
            if self._wakeup is not None:
                self._wakeup.wake()
            thread = self._thread
        if thread is not None and self._pid == os.getpid():
            thread.join(LEAVE_TIMEOUT_S)

    def _after_fork(self) -> None:
        if self._pid != os.getpid():  # a fork has no threads, and its locks may be held
            self._begin()

    def _run_on(self) -> None:
        """Have the thread run and look; with the lock held."""
        if self._wakeup is None:
            self._wakeup = Wakeup()
            self._thread = threading.Thread(target=self._run, name="flasknado-sequencer")
            self._thread.daemon = True
            self._thread.start()
            atexit.unregister(self.close)
            atexit.register(self.close)
        self._wakeup.wake()

    def _run(self) -> None:
        failed = False
        while not self._ended():
            try:
                with self._connect() as connection:
                    failed = False
                    self._serve(connection)
            except Exception as error:
                if not failed:
                    expected = isinstance(error, (sa.exc.SQLAlchemyError, ConfigurationError))
                    log.warning(
                        "this process cannot sequence live events right now: %s",
                        error,
                        exc_info=None if expected else error,
                    )
                failed = True
                self.leading = False
                time.sleep(RETRY_S)
            self.leading = False

    def _needed(self) -> bool:
        return bool(self._candidacies) or time.monotonic() < self._lingers_until

    def _ended(self) -> bool:
        """Return whether nobody needs the thread; then another is made for who does next."""
        with self._lock:
            if self._needed():
                return False
            assert self._wakeup is not None
            self._wakeup.close()
            self._thread = self._wakeup = None
            return True

    def _serve(self, connection: sa.Connection) -> None:
        """Do what there is to do until nobody needs it."""
        session = _Session(connection, self._shared())
        if session.shared:
            self._serve_alone(session)
            return
        wakeup = self._wakeup
        assert wakeup is not None
        try_at = 0.0
        while self._needed() and (self._candidacies or not self.leading):
            now = time.monotonic()
            if self._candidacies and not self.leading and now >= try_at:
                try_at = now + ELECTION_INTERVAL_S * random.uniform(0.8, 1.2)
                self.leading = session.try_to_lead()
                if not self.leading and session.move_what_waits_too_long():
                    self._on_numbered()
            if self.leading:
                look_s = LOOK_INTERVAL_S if session.listens else self._poll_s
                self._number(session, wakeup, look_s)
                continue
            if self._published:
                self._published = False
                outbox.wake(connection)
                _pause(now)
            until = try_at if self._candidacies else self._lingers_until
            wakeup.wait(max(until - time.monotonic(), 0.0))
        if self._published and not self.leading:
            outbox.wake(connection)

    def _number(self, session: _Session, wakeup: Wakeup, look_s: float) -> None:
        """Give offsets to a batch, and wait for more."""
        told, self._published = self._published, False
        began_at = time.monotonic()
        count = session.number(told)
        if count:
            self._on_numbered()
            _pause(began_at)
        if count < outbox.BATCH_EVENTS:
            session.wait(wakeup, look_s)

    def _serve_alone(self, session: _Session) -> None:
        """Give offsets to what is published here at once, and to all else in a while."""
        wakeup = self._wakeup
        assert wakeup is not None
        while self._needed() or self._published:
            left_s = max(self._lingers_until - time.monotonic(), 0.0)
            self._number(session, wakeup, LOOK_INTERVAL_S if self._candidacies else left_s)


def _pause(began_at: float) -> None:
    """Work half of the time at most, so that on a machine that is busy batches grow."""
    took_s = time.monotonic() - began_at
    time.sleep(min(max(took_s, BATCH_INTERVAL_S), MAX_BATCH_INTERVAL_S))


class _Session:
    """The sequencer's database session: elected or not. On the sequencer's thread."""

    def __init__(self, connection: sa.Connection, shared: bool = False) -> None:
        self._connection = connection
        self._driver: Any = connection.connection.dbapi_connection
        self.shared = shared
        self.listens = connection.dialect.driver == "psycopg" and not shared
        self._notified = False
        self._horizon: outbox.Horizon | None = None
        self._waiting_id: int | None = None
        if not shared:
            self._set("SET")

    def _set(self, command: str) -> None:
        for setting in _SETTINGS:
            self._connection.exec_driver_sql(f"{command} {setting}")

    def try_to_lead(self) -> bool:
        """Stand for election once."""
        if not self._connection.execute(_TRY_TO_LEAD).scalar_one():
            return False
        self._connection.exec_driver_sql(f"SET application_name = '{name_of(os.getpid())}'")
        if self.listens:
            self._driver.add_notify_handler(self._on_notify)
            self._connection.exec_driver_sql(f"LISTEN {outbox.WAKE_CHANNEL}")
        return True

    def number(self, told: bool = False) -> int:
        """Give offsets to a batch; return how many events there were.

        `told` says that there are some, else it looks first without a lock.
        """
        if self.listens and postgres.take_notifications(self._driver):
            told = True
        told = told or self._notified
        self._notified = False
        if not told and not outbox.pending(self._connection, self._horizon):
            return 0
        if self.shared:
            numbered = self._number_in_a_transaction()
        else:
            numbered = outbox.number(self._connection, self._horizon)
        self._horizon = numbered.horizon
        return numbered.events

    def _number_in_a_transaction(self) -> outbox.Numbered:
        self._connection.exec_driver_sql("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        try:
            self._set("SET LOCAL")
            numbered = outbox.number(self._connection, self._horizon)
            self._connection.exec_driver_sql("COMMIT")
        except BaseException:
            if not self._connection.invalidated:
                self._connection.exec_driver_sql("ROLLBACK")
            raise
        return numbered

    def move_what_waits_too_long(self) -> bool:
        """Give offsets if the elected one does not; return whether that was so."""
        oldest = outbox.oldest(self._connection)
        stuck = oldest is not None and oldest == self._waiting_id
        self._waiting_id = oldest
        if stuck:
            self._horizon = None
            self.number()
        return stuck

    def wait(self, wakeup: Wakeup, timeout_s: float) -> None:
        """Return when something has been published, or in time."""
        if not self._notified:
            wakeup.wait(timeout_s, (self._driver.fileno(),) if self.listens else ())

    def _on_notify(self, notification: object) -> None:  # noqa: ARG002
        self._notified = True


def name_of(pid: int) -> str:
    """Return what the elected session of a process is called in `pg_stat_activity`."""
    return f"{APPLICATION_NAME} {pid}"
