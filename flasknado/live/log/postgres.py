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
from typing import Any

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


def _unless_set(name: str, seconds: int) -> str:
    return (
        f"CASE current_setting('{name}', true) WHEN '0'"
        f" THEN set_config('{name}', '{seconds * 1000}', false) END"
    )


# The server watches its end too: a lock must not outlive the machine that held it.
_SET_UP = "SELECT " + ", ".join(
    (
        _unless_set("statement_timeout", STATEMENT_TIMEOUT_S),
        _unless_set("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_TIMEOUT_S),
        _unless_set("tcp_user_timeout", LOST_AFTER_S),
    )
)
_BACKEND_PID = "SELECT pg_backend_pid()"
_STATEMENT_TIMEOUT_MS = "SELECT setting FROM pg_settings WHERE name = 'statement_timeout'"


def limit_waits(engine: sa.Engine) -> None:
    """Give every connection that `engine` makes from now on these deadlines.

    For an engine of PostgreSQL through psycopg (3 or 2); any other is left as it is.
    """
    if engine.dialect.driver in LIBPQ:
        sa.event.listen(engine, "do_connect", _connect)


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
    return _connect(dialect, record, cargs, cparams) if _asked.here else None


def _connect(
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
                cursor.execute(_SET_UP)
            cursor.execute(_STATEMENT_TIMEOUT_MS)
            statement_timeout_s = int(cursor.fetchone()[0]) / 1000
        connection.commit()
    except BaseException:
        connection.close()
        raise
    if dialect.driver == "psycopg":
        connection.answer_timeout_s = statement_timeout_s + ANSWER_MARGIN_S
    return connection


@functools.cache
def _limited_class() -> Any:
    """Return psycopg's connection with a bound on every wait for the server; made when needed."""
    import psycopg

    class LimitedConnection(psycopg.Connection[Any]):
        """Closes itself, with an `OperationalError`, when the server does not answer in time."""

        answer_timeout_s: float = CONNECT_TIMEOUT_S

        def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
            return super().wait(self._limited(gen), *args, **options)

        def _limited(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
            ends_at = time.monotonic() + self.answer_timeout_s
            try:
                wanted = next(gen)
                while True:
                    # Nothing that is ready comes at least every tenth of a second.
                    ready = yield wanted
                    if not ready and time.monotonic() >= ends_at:
                        self.close()
                        raise psycopg.OperationalError(
                            f"the database has not answered for {self.answer_timeout_s:g} s: "
                            f"the connection was given up"
                        )
                    wanted = gen.send(ready)
            except StopIteration as stop:
                return stop.value

    return LimitedConnection
