"""Connections of the log's own: outside every pool, each statement committed by itself.

Whatever the application's engine does with its connections, these are left as they are made:
an application's `begin` event, an isolation level and a schema are for its own transactions.

A pooler between us and PostgreSQL may lend a server's session to one transaction at a time
(PgBouncer's `pool_mode = transaction`). Through it there is no LISTEN and no lock of a session,
and a SET is for whoever comes next. Blocking; no Tornado.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from flasknado.errors import ConfigurationError
from flasknado.live.log import postgres, sqlite

log = logging.getLogger("flasknado.live")

PROBE_TIMEOUT_S = 1.0
"""How long a session may take to be told of what it listens to."""
PROBE_CHANNEL = "flasknado_probe"

_LOCAL_PATH = sa.text(
    "SELECT set_config('search_path', quote_ident(:schema) || ', ' ||"
    " current_setting('search_path'), CAST(:local AS boolean))"
)


class OwnConnections:
    """Opens them, for one log. May be used on any thread.

    `engine()` returns the application's engine, and `listen_url` is where its database is
    reached without a pooler, if that is another URL.
    """

    def __init__(
        self, engine: Callable[[], sa.Engine], listen_url: str | None, schema: str | None = None
    ) -> None:
        self._engine = engine
        self._listen_url = None if listen_url is None else _checked(listen_url)
        self._schema = schema
        self._lock = threading.Lock()
        self._listen_engine: sa.Engine | None = None
        self._warned = False
        self._probed: bool | None = None
        """Whether a pooler keeps a client its session; unknown until one was asked."""
        self.shared = False
        """Whether a pooler shares the sessions of the connections that were opened last."""

    @contextlib.contextmanager
    def open(self) -> Iterator[sa.Connection]:
        """Open a connection that commits each statement by itself."""
        with self._opened(self._engine_to_follow()) as connection:
            if connection.dialect.name == "sqlite":
                driver = sqlite.driver_of(connection)
                sqlite.commit_each_statement(driver)
                # SQLAlchemy's begin, once and for all: an application's `begin` event, for all
                # engines, may say BEGIN, which nobody would end.
                connection.begin()
                if driver.in_transaction:
                    driver.rollback()
            elif connection.dialect.name == "postgresql":
                self._set_up(connection)
            yield connection

    @property
    def elsewhere(self) -> bool:
        """Whether they go to another URL than the application's."""
        return self._listen_url is not None

    def close(self) -> None:
        """Let go what is kept open for the next connection."""
        with self._lock:
            engine, self._listen_engine = self._listen_engine, None
        if engine is not None:
            engine.dispose()

    def _engine_to_follow(self) -> sa.Engine:
        if self._listen_url is None:
            return self._engine()
        with self._lock:
            if self._listen_engine is None:
                self._listen_engine = sa.create_engine(self._listen_url)
            return self._listen_engine

    @contextlib.contextmanager
    def _opened(self, engine: sa.Engine) -> Iterator[sa.Connection]:
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

    def _set_up(self, connection: sa.Connection) -> None:
        self.shared = postgres.is_pooled(connection)
        if self.shared:
            if self._probed is None:
                self._probed = self._keeps_its_session(connection)
            self.shared = not self._probed
        if not self.shared:
            connection.exec_driver_sql(
                "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED,"
                " READ WRITE"
            )
            set_search_path(connection, self._schema, local=False)
        elif self._schema is not None:
            raise ConfigurationError(
                "live events in a schema of their own need sessions that the pooler in front of "
                "PostgreSQL does not share: set LIVE_LISTEN_DATABASE_URI to the database's own URL"
            )
        elif not self._warned:
            self._warned = True
            log.warning(
                "the pooler in front of PostgreSQL shares its sessions (as PgBouncer does with "
                "pool_mode = transaction), so live events are looked for every LIVE_POLL_S: set "
                "LIVE_LISTEN_DATABASE_URI to the database's own URL to be notified of them"
            )
        if self.shared and connection.dialect.driver == "psycopg":
            driver: Any = connection.connection.dbapi_connection
            driver.prepare_threshold = None

    def _keeps_its_session(self, connection: sa.Connection) -> bool:
        """Return whether a session behind a pooler is told of what it listens to."""
        if connection.dialect.driver != "psycopg":
            return False
        driver: Any = connection.connection.dbapi_connection
        channel = f"{PROBE_CHANNEL}_{secrets.token_hex(4)}"
        connection.exec_driver_sql(f"LISTEN {channel}")
        with self._opened(connection.engine) as other:
            other.exec_driver_sql(f"NOTIFY {channel}")
        told = any(driver.notifies(timeout=PROBE_TIMEOUT_S, stop_after=1))
        connection.exec_driver_sql(f"UNLISTEN {channel}")
        return told


def set_search_path(connection: sa.Connection, schema: str | None, *, local: bool) -> None:
    """Have a PostgreSQL connection, or its transaction, find the log's tables in a schema."""
    if schema is not None:
        connection.execute(_LOCAL_PATH, {"schema": schema, "local": local})


def with_driver(url: sa.URL) -> sa.URL:
    """Return a URL of PostgreSQL with the driver that is used unless it says another."""
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    return url


def _checked(listen_url: object) -> sa.URL:
    url = None
    if isinstance(listen_url, (str, sa.URL)):
        with contextlib.suppress(sa.exc.ArgumentError):
            url = with_driver(sa.make_url(listen_url))
    if url is None or url.get_backend_name() != "postgresql":
        what = "what it is" if url is None else f"one of {url.get_backend_name()}"
        raise ConfigurationError(
            "LIVE_LISTEN_DATABASE_URI must be the URL of the same PostgreSQL database, without the "
            f"pooler between, not {what}"
        )
    return url


def _outside_the_pool(engine: sa.Engine) -> sa.Engine:
    """Return the engine with an empty pool: every connection of the other may be in use.

    It makes connections as the other does, and has none of its listeners.
    """
    return sa.Engine(
        engine.pool.recreate(), engine.dialect, engine.url, hide_parameters=engine.hide_parameters
    )
