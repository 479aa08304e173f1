"""PostgreSQL connections that are given up in time when the server falls silent.

A server that is gone (a cable, a firewall, a machine) answers nothing, and one that hangs may
even acknowledge what it is sent, so the system's own timers see nothing wrong. So there are
three deadlines: for connecting, for a statement (kept by the server), and for the server to
answer at all (kept here, with psycopg 3, whatever the network says). What the URL or the
engine's `connect_args` say about any of them holds. Blocking; no Tornado.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 10
IDLE_IN_TRANSACTION_TIMEOUT_S = 5
"""A process that vanishes in a transaction must not keep the log's row locked for long."""
LOST_AFTER_S = 15
"""After how long a server whose machine acknowledges nothing counts as gone."""
ANSWER_MARGIN_S = 5
"""How much longer than the statement timeout the server may be silent."""

LIBPQ = frozenset(("psycopg", "psycopg2"))
"""The drivers that take libpq's parameters."""

_PARAMETERS: dict[str, int] = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": LOST_AFTER_S - 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": LOST_AFTER_S * 1000,
}
"""libpq's parameters (PostgreSQL's documentation, 34.1.2), unless the connection has them."""


class Limits(NamedTuple):
    """Deadlines that the server keeps, in seconds; 0 is none."""

    statement_s: float
    idle_in_transaction_s: float

    def set_up(self) -> str:
        """Return the statement that sets them, unless they are set."""
        # The server watches its end too: a lock must not outlive the machine that held it.
        return "SELECT " + ", ".join(
            (
                _unless_set("statement_timeout", self.statement_s),
                _unless_set("idle_in_transaction_session_timeout", self.idle_in_transaction_s),
                _unless_set("tcp_user_timeout", LOST_AFTER_S),
            )
        )


OWN_LIMITS = Limits(STATEMENT_TIMEOUT_S, IDLE_IN_TRANSACTION_TIMEOUT_S)
"""Those of the log's own connections."""


def _unless_set(name: str, seconds: float) -> str:
    return (
        f"CASE current_setting('{name}', true) WHEN '0'"
        f" THEN set_config('{name}', '{round(seconds * 1000)}', false) END"
    )


_BACKEND_PID = "SELECT pg_backend_pid()"
_STATEMENT_TIMEOUT_MS = "SELECT setting FROM pg_settings WHERE name = 'statement_timeout'"


def limit_waits(
    engine: sa.Engine,
    *,
    statement_timeout_s: float = STATEMENT_TIMEOUT_S,
    idle_in_transaction_timeout_s: float = 0,
) -> None:
    """Have connections of an engine to PostgreSQL given up in time when the server falls silent.

    For an application's own engine, before it connects: a server that hangs may acknowledge all
    that it is sent, and a view would wait forever. A statement may take `statement_timeout_s`
    (0 is no limit), a transaction may wait for the application `idle_in_transaction_timeout_s`,
    and connecting 5 seconds. With psycopg 3 a server that says nothing for 5 seconds longer than
    a statement may take is given up: the call raises `sqlalchemy.exc.OperationalError`. What the
    URL or `connect_args` say holds; for something that takes longer, such as a migration, set
    `answer_timeout_s` of the driver's connection to `None`. Another database is left as it is.
    """
    if engine.dialect.driver in LIBPQ:
        limits = Limits(statement_timeout_s, idle_in_transaction_timeout_s)
        sa.event.listen(engine, "do_connect", functools.partial(_connect, limits))


def take_notifications(driver: Any) -> bool:
    """Take the notifications that psycopg 3's connection has been sent; return whether it has.

    What a statement sees that begins from here on is what they tell of, so it need not be looked
    for again when the statement comes across them.
    """
    connection = driver.pgconn
    try:
        connection.consume_input()
    except Exception:  # psycopg's: the next statement says as SQLAlchemy's that it is lost
        return True
    told = False
    while connection.notifies() is not None:
        told = True
    return told


def is_pooled(connection: sa.Connection) -> bool:
    """Return whether there is a pooler between, by whose process it says that it is."""
    driver: Any = connection.connection.dbapi_connection
    if connection.dialect.driver not in LIBPQ:
        return False
    pid: int = connection.exec_driver_sql(_BACKEND_PID).scalar_one()
    backend_pid: int = driver.info.backend_pid
    return pid != backend_pid


@contextlib.contextmanager
def limited_waits(engine: sa.Engine) -> Iterator[None]:
    """Give the connections that this thread makes in the block these deadlines.

    For an engine that belongs to somebody else, whose other connections stay as they are.
    """
    if engine.dialect.driver not in LIBPQ:
        yield
        return
    with _listening:
        if not sa.event.contains(engine, "do_connect", _connect_if_asked):
            sa.event.listen(engine, "do_connect", _connect_if_asked)
    _asked.here = True
    try:
        yield
    finally:
        _asked.here = False


class _Asked(threading.local):
    here = False


_asked = _Asked()
_listening = threading.Lock()


def _connect_if_asked(dialect: Any, record: Any, cargs: Any, cparams: dict[str, Any]) -> Any:
    return _connect(OWN_LIMITS, dialect, record, cargs, cparams) if _asked.here else None


def _connect(
    limits: Limits,
    dialect: Any,
    record: Any,  # noqa: ARG001 (SQLAlchemy's interface)
    cargs: Any,
    cparams: dict[str, Any],
) -> Any:
    parameters = {**_PARAMETERS, **cparams}
    connect = dialect.connect if dialect.driver != "psycopg" else _limited_class().connect
    connection = connect(*cargs, **parameters)
    try:
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute(_BACKEND_PID)
            if cursor.fetchone()[0] == connection.info.backend_pid:
                # Not through a pooler: others might get the session next.
                cursor.execute(limits.set_up())
            cursor.execute(_STATEMENT_TIMEOUT_MS)
            statement_timeout_s = int(cursor.fetchone()[0]) / 1000
        connection.commit()
    except BaseException:
        connection.close()
        raise
    if dialect.driver == "psycopg":
        connection.answer_timeout_s = (
            statement_timeout_s + ANSWER_MARGIN_S if statement_timeout_s else None
        )
    return connection


@functools.cache
def _limited_class() -> Any:
    """Return psycopg's connection with a bound on every wait for the server; made when needed."""
    import psycopg

    class LimitedConnection(psycopg.Connection[Any]):
        """Closes itself, with an `OperationalError`, when the server does not answer in time."""

        answer_timeout_s: float | None = CONNECT_TIMEOUT_S

        def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
            limit_s = self.answer_timeout_s
            limited = gen if limit_s is None else self._limited(gen, limit_s)
            return super().wait(limited, *args, **options)

        def _limited(
            self, gen: Generator[Any, Any, Any], limit_s: float
        ) -> Generator[Any, Any, Any]:
            ends_at = time.monotonic() + limit_s
            try:
                wanted = next(gen)
                while True:
                    # Nothing that is ready comes at least every tenth of a second.
                    ready = yield wanted
                    if not ready and time.monotonic() >= ends_at:
                        self.close()
                        raise psycopg.OperationalError(
                            f"the database has not answered for {limit_s:g} s: "
                            f"the connection was given up"
                        )
                    wanted = gen.send(ready)
            except StopIteration as stop:
                return stop.value

    return LimitedConnection
