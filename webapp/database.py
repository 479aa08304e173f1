"""The database: engine options, the check that it answers, and migrations at start.

Transaction rule of the application: a view commits by itself, shortly before it answers;
nothing slow (hashing a password, reading an upload, streaming) happens in a transaction, and
whatever a failed view has not committed is rolled back.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from flask import Flask, current_app
from sqlalchemy import Connection, Engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.orm.interfaces import ORMOption
from werkzeug.exceptions import NotFound

from config import VAR_DIR, Settings
from config.private_files import keep_private, make_private_directory, make_private_file
from flasknado.live import limit_waits
from webapp import watchdog
from webapp.extensions import Base, db, migrate

BUSY_TIMEOUT_S = 10
_SPARE_CONNECTIONS = 8  # beside the views' threads: live authorisation, health checks
_LARGEST_ID = 2**31 - 1
_ACTIONS = "webapp.after_commit"
_MIGRATION_LOCK = 0x666C6173  # any number, as long as nothing else on the server uses it

ModelT = TypeVar("ModelT", bound=Base)


class DatabaseError(Exception):
    """The database cannot be used as it is; one sentence."""


def configure(app: Flask, settings: Settings) -> None:
    """Set the options of the engine; call it before `bind()`.

    Each view thread has a connection, and there are some to spare, so that none waits for
    another's. A database that goes silent is given up after the times in the settings.
    """
    url = make_url(settings.database_url)
    options: dict[str, Any] = {
        "pool_size": settings.threads,
        "max_overflow": _SPARE_CONNECTIONS,
        "pool_timeout": settings.database_pool_timeout_s,
    }
    if url.get_backend_name() == "sqlite":
        options["connect_args"] = {"timeout": BUSY_TIMEOUT_S}
        path = sqlite_path(url)
        if path is not None:
            # If it cannot be made, the first connection says so in a sentence.
            with suppress(OSError):
                make_private_directory(path.parent)
    else:
        options["pool_pre_ping"] = True
        options["connect_args"] = _libpq_arguments(url, settings)
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.database_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = options


def _libpq_arguments(url: URL, settings: Settings) -> dict[str, Any]:
    """Return the deadlines of a PostgreSQL connection; what the URL itself says comes first."""
    if url.get_driver_name() not in ("psycopg", "psycopg2"):
        return {}
    silence_s = settings.database_silence_timeout_s
    arguments: dict[str, Any] = {
        "connect_timeout": settings.database_connect_timeout_s,
        # Without traffic a probe after half the time, then three more; with something sent
        # that is not acknowledged, the whole time (tcp(7)).
        "keepalives": 1,
        "keepalives_idle": max(1, silence_s // 2),
        "keepalives_interval": max(1, silence_s // 6),
        "keepalives_count": 3,
        "tcp_user_timeout": silence_s * 1000,
    }
    arguments = {name: value for name, value in arguments.items() if name not in url.query}
    if settings.database_statement_timeout_s:
        # Of the same option given twice, PostgreSQL takes the last.
        ours = f"-c statement_timeout={settings.database_statement_timeout_s * 1000}"
        theirs = url.query.get("options", ())
        arguments["options"] = " ".join((ours, *([theirs] if isinstance(theirs, str) else theirs)))
    return arguments


def bind(app: Flask, settings: Settings) -> None:
    """Bind the extensions for the database to `app`; opens no connection yet."""
    db.init_app(app)
    migrate.init_app(app, db)
    with app.app_context():
        watchdog.register(app, db.engine)
        if db.engine.dialect.name == "sqlite":
            event.listen(db.engine, "connect", _prepare_sqlite)
            path = sqlite_path(db.engine.url)
            if path is not None:
                event.listen(db.engine, "do_connect", _sqlite_privacy(path, app))
        limit_waits(db.engine, statement_timeout_s=settings.database_statement_timeout_s)


def sqlite_path(url: URL) -> Path | None:
    """Return the file of a SQLite database; nothing if it is in memory."""
    name = (url.database or "").removeprefix("file:").partition("?")[0]
    return None if name in ("", ":memory:") else Path(name)


def _sqlite_privacy(path: Path, app: Flask) -> Callable[..., None]:
    """Return what runs before a connection opens: it keeps the database's files from others.

    SQLite gives the files beside the database its own mode, whatever the process's mask is.
    """
    files = [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))]
    told: set[Path] = set()

    def before_connect(*_arguments: object) -> None:
        # If it cannot be made, SQLite says why.
        with suppress(OSError):
            make_private_file(path)
        if path.parent == VAR_DIR:
            keep_private(VAR_DIR)
        for file in files:
            if not keep_private(file) and file not in told:
                told.add(file)
                app.logger.warning(
                    "other users of this machine may read %s: make it its owner's, with mode 600",
                    file,
                )

    return before_connect


def _prepare_sqlite(connection: sqlite3.Connection, record: object) -> None:  # noqa: ARG001
    """Make a new SQLite connection check foreign keys and let readers and a writer coexist."""
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = NORMAL")
    # The change to WAL is kept in the file, and needs it alone for a moment; SQLite does not
    # apply the busy timeout to it when two processes try at once.
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while connection.execute("PRAGMA journal_mode").fetchone()[0] not in ("wal", "memory"):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def find(model: type[ModelT], object_id: int, *options: ORMOption) -> ModelT:
    """Return the object with this id, or raise `NotFound` (404); needs an application context."""
    known = 0 < object_id <= _LARGEST_ID
    found = db.session.get(model, object_id, options=options) if known else None
    if found is None:
        raise _not_found(model, object_id)
    return found


def find_own(model: type[ModelT], object_id: int, user_id: int) -> ModelT:
    """Return the object with this id if it is this user's; others' are not there, as in `find`.

    For kinds of objects with a `user_id`.
    """
    found: Any = find(model, object_id)
    if found.user_id != user_id:
        raise _not_found(model, object_id)
    return found  # type: ignore[no-any-return]


def _not_found(model: type[Any], object_id: int) -> NotFound:
    return NotFound(f"There is no {model.__name__.lower()} {object_id}.")


def end_transaction() -> None:
    """Give the connection back before something slow; what was not committed is lost."""
    db.session.rollback()


def after_commit(action: Callable[[], None]) -> None:
    """Call `action` once the session's transaction has committed, and not if it is rolled back."""
    session = db.session()
    session.info.setdefault(_ACTIONS, []).append(action)


def _act(session: Session) -> None:
    for action in session.info.pop(_ACTIONS, ()):
        action()


def _forget_actions(session: Session, previous: SessionTransaction) -> None:
    if previous.parent is None:
        session.info.pop(_ACTIONS, None)


event.listen(db.session, "after_commit", _act)
event.listen(db.session, "after_soft_rollback", _forget_actions)


def ping(app: Flask) -> None:
    """Ask the database for one row. May be called on any thread but the event loop's.

    Raises:
        DatabaseError: it does not answer.
    """
    with app.app_context():
        try:
            with db.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError as error:
            raise DatabaseError(_unreachable(error)) from error


def reachable(app: Flask) -> bool:
    """Whether the database answers; see `ping()`."""
    try:
        ping(app)
    except DatabaseError:
        return False
    return True


def migrate_if_needed(app: Flask) -> bool:
    """Bring the database to the newest revision, and return whether anything was done.

    Costs two small reads when the database is current. Processes that start together take
    turns: the first migrates in one transaction, the others find the work done. Leaves no open
    connection behind, so it may be called before a fork.

    Raises:
        DatabaseError: the database does not answer, or cannot be migrated.
    """
    with app.app_context():
        try:
            head = _newest_revision()
            with db.engine.connect() as connection:
                if _revision_of(connection) == head:
                    return False
            with migration_connection() as connection:
                if _revision_of(connection) == head:
                    return False
                config = migrate.get_config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
            return True
        except CommandError as error:
            raise DatabaseError(
                f"The database cannot be migrated ({error}): its revision is unknown to this"
                " version of the application, so run the version that made it, or a newer one."
            ) from error
        except SQLAlchemyError as error:
            raise DatabaseError(_unreachable(error)) from error
        finally:
            db.engine.dispose()


@contextmanager
def migration_connection() -> Iterator[Connection]:
    """Yield a connection inside a transaction that no other migration runs beside; commit it.

    Used by `migrations/env.py` too, so `flask db upgrade` is as safe.
    """
    engine: Engine = db.engine
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # Batch mode drops and renames tables, which must not cascade to other tables' rows.
            # The PRAGMA works outside a transaction only; the connection is thrown away after.
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            connection.commit()
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            # It may wait for another process's migration, and take long itself.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            driver: Any = connection.connection.dbapi_connection
            driver.answer_timeout_s = None
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        try:
            yield connection
            connection.commit()
        finally:
            connection.invalidate()


def _newest_revision() -> str | None:
    directory = current_app.extensions["migrate"].directory
    return ScriptDirectory(directory).get_current_head()


def _revision_of(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _unreachable(error: SQLAlchemyError) -> str:
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    url = db.engine.url
    mend = (
        "that its directory is there and may be written to"
        if url.get_backend_name() == "sqlite"
        else "that its server runs and lets this user in"
    )
    shown = url.render_as_string(hide_password=True)
    return f"The database {shown} cannot be used ({reason}): check DATABASE_URL, and {mend}."
