"""Engine options, the check that the database answers, and lookups."""

from __future__ import annotations

import os
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError
from werkzeug.exceptions import NotFound

from tests.support.postgres import postgres_server
from tests.support.silent_proxy import silent_proxy
from tests.webapp.people import about_sqlite, assert_api_error, make_app
from webapp import database
from webapp.extensions import db
from webapp.models import Comment, Post, User


@about_sqlite
def test_sqlite_connection_has_wal_foreign_keys_and_busy_timeout(app: Flask) -> None:
    with app.app_context(), db.engine.connect() as connection:
        pragma = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
        }
        # pysqlite's own transactions: reading begins none, so it never blocks a writer.
        connection.execute(text("SELECT count(*) FROM post"))
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        assert not raw.in_transaction

    assert pragma == {
        "journal_mode": "wal",
        "foreign_keys": 1,
        "busy_timeout": database.BUSY_TIMEOUT_S * 1000,
        "synchronous": 1,
    }


def test_sqlite_foreign_keys_are_enforced(app: Flask) -> None:
    with app.app_context():
        db.session.add(Comment(post_id=1, author_id=1, body="nowhere"))
        with pytest.raises(IntegrityError):
            db.session.commit()


def test_engine_has_a_connection_for_every_view_thread(tmp_path: Path) -> None:
    app = make_app(tmp_path / "x.db", threads=3)

    options = app.config["SQLALCHEMY_ENGINE_OPTIONS"]
    assert options["pool_size"] == 3
    assert options["max_overflow"] > 0
    assert options["pool_timeout"] > 0


def test_reachable_database_answers(app: Flask) -> None:
    database.ping(app)

    assert database.reachable(app)


def test_unreachable_database_is_one_sentence_without_its_password(tmp_path: Path) -> None:
    app = make_app(tmp_path / "x.db", database_url="postgresql://me:hunter2@127.0.0.1:1/none")

    assert not database.reachable(app)
    with pytest.raises(database.DatabaseError) as caught:
        database.ping(app)

    sentence = str(caught.value)
    assert "127.0.0.1:1/none" in sentence
    assert "DATABASE_URL" in sentence
    assert "hunter2" not in sentence
    assert "\n" not in sentence


def test_sqlite_file_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("where a directory should be")
    app = make_app(tmp_path / "file" / "x.db")

    for use in (database.ping, database.migrate_if_needed):
        with pytest.raises(database.DatabaseError, match="its directory is there") as caught:
            use(app)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("object_id", [0, 1, 2**31, 10**30])
def test_find_of_what_is_not_there_is_404(app: Flask, object_id: int) -> None:
    with app.app_context(), pytest.raises(NotFound, match="There is no post"):
        database.find(Post, object_id)


def test_find_returns_the_object(app: Flask, account: object) -> None:
    assert callable(account)
    user_id = account("ada")

    with app.app_context():
        assert database.find(User, user_id).username == "ada"


OPEN_AND_CLOSE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM post").fetchall()
connection.close()
"""


@about_sqlite
def test_sqlite_connection_that_is_added_leaves_the_locks_of_the_others(
    app: Flask,
) -> None:
    with app.app_context(), db.engine.connect() as first:
        path = str(db.engine.url.database)
        first.execute(text("SELECT count(*) FROM post")).all()
        with db.engine.connect() as second:
            second.execute(text("SELECT count(*) FROM post")).all()
        # Were the locks gone, this would take itself for the last and remove the log (WAL).
        subprocess.run([sys.executable, "-c", OPEN_AND_CLOSE, path], check=True)
        assert Path(f"{path}-wal").exists()
        first.rollback()


# --- PostgreSQL: its deadlines ------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with postgres_server() as server:
        yield server.url()


@pytest.fixture
def on_postgres(tmp_path: Path, postgres_url: str) -> Iterator[Callable[..., Flask]]:
    """Return a function that makes an application on PostgreSQL with some settings."""
    made: list[Flask] = []

    def make(query: str = "", **settings: Any) -> Flask:
        made.append(make_app(tmp_path / "x.db", database_url=postgres_url + query, **settings))
        return made[-1]

    yield make
    for app in made:
        with app.app_context():
            db.session.remove()
            db.engine.dispose()


def parameters_of(app: Flask) -> dict[str, str]:
    """Return what a connection was opened with, and the statement timeout that holds on it."""
    with app.app_context(), db.engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        timeout = connection.scalar(text("SHOW statement_timeout"))
        return raw.info.get_parameters() | {"statement_timeout": timeout}


def test_postgresql_connection_has_deadlines(on_postgres: Callable[..., Flask]) -> None:
    parameters = parameters_of(on_postgres())

    expected = {
        "connect_timeout": "5",
        "keepalives": "1",
        "keepalives_idle": "10",
        "keepalives_interval": "3",
        "keepalives_count": "3",
        "tcp_user_timeout": "20000",
        "statement_timeout": "30s",
    }
    # libpq does not name what is its own default, such as keepalives.
    assert {name: parameters.get(name, expected[name]) for name in expected} == expected
    assert {"connect_timeout", "tcp_user_timeout", "keepalives_idle"} <= set(parameters)


def test_postgresql_deadlines_are_settings_and_those_of_the_url_come_first(
    on_postgres: Callable[..., Flask],
) -> None:
    app = on_postgres(
        "&connect_timeout=9&options=-c%20statement_timeout%3D7000",
        database_connect_timeout_s=2,
        database_silence_timeout_s=60,
    )

    parameters = parameters_of(app)

    assert parameters["connect_timeout"] == "9"
    assert parameters["tcp_user_timeout"] == "60000"
    assert parameters["statement_timeout"] == "7s"


def test_postgresql_statement_timeout_of_zero_leaves_the_servers(
    on_postgres: Callable[..., Flask],
) -> None:
    assert parameters_of(on_postgres(database_statement_timeout_s=0))["statement_timeout"] == "0"


def test_postgresql_statement_that_takes_too_long_is_503(
    on_postgres: Callable[..., Flask],
) -> None:
    app = on_postgres(database_statement_timeout_s=1)

    @app.get("/api/v1/slow")
    def slow() -> str:
        db.session.execute(text("SELECT pg_sleep(60)"))
        return ""

    answer = app.test_client().get("/api/v1/slow")

    assert "does not answer" in assert_api_error(answer, 503)
    assert answer.headers["Retry-After"]


def test_postgresql_migration_has_no_statement_timeout(on_postgres: Callable[..., Flask]) -> None:
    app = on_postgres(database_statement_timeout_s=1)
    with app.app_context(), database.migration_connection() as connection:
        assert connection.scalar(text("SHOW statement_timeout")) == "0"
        driver: Any = connection.connection.dbapi_connection
        assert driver.answer_timeout_s is None


def test_postgresql_that_acknowledges_and_never_answers_is_503(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flasknado.live.log.postgres.ANSWER_MARGIN_S", 0)
    behind = make_url(postgres_url)
    with silent_proxy(Path(str(behind.query["host"])) / ".s.PGSQL.5432") as proxy:
        url = behind.set(host="127.0.0.1", port=proxy.port, query={}).render_as_string(
            hide_password=False
        )
        app = make_app(tmp_path / "x.db", database_url=url, database_statement_timeout_s=1)

        @app.get("/api/v1/silent")
        def silent() -> str:
            db.session.execute(text("SELECT 1"))
            proxy.silence()
            db.session.execute(text("SELECT 1"))
            return ""

        began_at = time.monotonic()
        answer = app.test_client().get("/api/v1/silent")

        assert "does not answer" in assert_api_error(answer, 503)
        assert time.monotonic() - began_at < 20
        with app.app_context():
            db.engine.dispose()


def test_postgresql_migration_makes_live_publish_and_takes_it_away(
    on_postgres: Callable[..., Flask],
) -> None:
    app = on_postgres()
    found = text("SELECT to_regprocedure('live_publish(text, text, jsonb, boolean)') IS NOT NULL")
    with app.app_context():
        flask_migrate.upgrade()
        assert db.session.scalar(found)
        db.session.rollback()
        flask_migrate.downgrade(revision="base")
        assert not db.session.scalar(found)


def test_postgresql_server_that_accepts_and_says_nothing_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/none"
        app = make_app(tmp_path / "x.db", database_url=url, database_connect_timeout_s=2)
        began_at = time.monotonic()

        assert not database.reachable(app)

    assert time.monotonic() - began_at < 20


def test_pool_that_is_empty_is_503_after_its_timeout(tmp_path: Path) -> None:
    app = make_app(tmp_path / "x.db", threads=1, database_pool_timeout_s=1)
    with app.app_context():
        held = [db.engine.connect() for _ in range(1 + 8)]
        answer = app.test_client().get("/api/v1/posts")
        for connection in held:
            connection.close()

    assert "does not answer" in assert_api_error(answer, 503)


# --- SQLite: its files --------------------------------------------------------------------------


def modes_of(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


@pytest.fixture
def open_mask() -> Iterator[None]:
    """Let every mode through, as a server with umask 0 does."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_mask")
def test_sqlite_files_and_their_directory_are_their_owners(tmp_path: Path) -> None:
    app = make_app(tmp_path / "data" / "x.db")
    database.migrate_if_needed(app)
    with app.app_context():
        db.session.execute(text("UPDATE post SET title = 'x'"))
        assert modes_of(tmp_path / "data") == dict.fromkeys(("x.db", "x.db-wal", "x.db-shm"), 0o600)
        db.session.remove()
        db.engine.dispose()

    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


@pytest.mark.usefixtures("open_mask")
@about_sqlite
def test_sqlite_files_that_others_could_read_are_taken_from_them(database_file: Path) -> None:
    writer = sqlite3.connect(database_file)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("UPDATE post SET title = 'x'")
    for end in ("", "-wal", "-shm"):
        database_file.with_name(database_file.name + end).chmod(0o644)
    app = make_app(database_file)

    database.ping(app)

    assert set(modes_of(database_file.parent).values()) == {0o600}
    writer.close()
    with app.app_context():
        db.engine.dispose()


@about_sqlite
def test_sqlite_file_that_cannot_be_taken_from_others_is_told_once(
    database_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database, "keep_private", lambda path: path.suffix != ".db")
    app = make_app(database_file)

    for _ in range(3):
        database.ping(app)
        with app.app_context():
            db.engine.dispose()

    assert caplog.text.count("other users of this machine may read") == 1


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////srv/x.db", "/srv/x.db"),
        ("sqlite:////srv/x.db?timeout=3", "/srv/x.db"),
        ("sqlite:///file:/srv/x.db?mode=ro&uri=true", "/srv/x.db"),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("sqlite:///file::memory:?uri=true", None),
    ],
)
def test_sqlite_path_of_a_url(url: str, path: str | None) -> None:
    assert database.sqlite_path(make_url(url)) == (path and Path(path))
