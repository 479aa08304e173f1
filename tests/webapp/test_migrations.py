"""The migrations make what the models say, back and forth, and by many processes at once."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import flask_migrate
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask
from sqlalchemy import inspect, text

from flasknado.live.state import state_of
from tests.webapp.people import SECRET, make_app
from webapp import database
from webapp.extensions import db, live

ROOT = Path(__file__).resolve().parents[2]
TABLES = {"user_account", "post", "comment", "revoked_token", "live_log", "live_event"} | {
    "live_worker",
    "live_presence",
    "live_roster",
    "live_outbox",
    "live_event_1",
    "live_buffered",
    "live_buffered_1",
    "live_run",
    "attempt_count",
    "login_session",
    "api_token",
    "done_once",
    "attachment",
    "notification",
    "search_word",
}


def tables_of(app: Flask) -> set[str]:
    """Return the names of the tables that the database has."""
    with app.app_context():
        return set(inspect(db.engine).get_table_names())


def test_upgrade_from_empty_equals_the_models(app: Flask) -> None:
    with app.app_context(), db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, db.metadata) == []

    assert tables_of(app) == TABLES | {"alembic_version"} | {"sqlite_sequence"} & tables_of(app)


def test_downgrade_takes_everything_away_and_upgrade_brings_it_back(app: Flask) -> None:
    with app.app_context():
        flask_migrate.downgrade(revision="base")
        assert not tables_of(app) & TABLES

        flask_migrate.upgrade()
        assert tables_of(app) >= TABLES


def test_upgrade_of_an_old_log_keeps_its_events_and_cursors(tmp_path: Path) -> None:
    app = make_app(tmp_path / "x.db")
    with app.app_context():
        flask_migrate.upgrade(revision="0004")
        with db.engine.begin() as connection:
            connection.execute(text("INSERT INTO live_log VALUES (1, 'old', 2, 0)"))
            for offset in (1, 2):
                connection.execute(
                    text("INSERT INTO live_event VALUES (:n, 'posts', 'n', '1', true, :at)"),
                    {"n": offset, "at": time.time()},
                )

    assert database.migrate_if_needed(app) is True

    with app.app_context():
        assert live.cursor() == "old:2"
        live.publish("posts", "new")
        db.session.commit()
        batch = state_of(app).log.read(1, ["posts"], 10)
    assert [(event.offset, event.name) for event in batch.events] == [(2, "n"), (3, "new")]


def test_migrate_if_needed_works_once_and_is_fast_when_current(tmp_path: Path) -> None:
    app = make_app(tmp_path / "new" / "x.db")

    assert database.migrate_if_needed(app) is True
    assert tables_of(app) >= TABLES
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        assert database.migrate_if_needed(app) is False
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.1


def test_migrate_if_needed_leaves_no_connection_behind(tmp_path: Path) -> None:
    app = make_app(tmp_path / "x.db")

    database.migrate_if_needed(app)

    with app.app_context():
        assert db.engine.pool.checkedin() == 0
        assert db.engine.pool.checkedout() == 0


def test_migrate_if_needed_leaves_logging_alone(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.getLogger("webapp").disabled)

    database.migrate_if_needed(make_app(tmp_path / "x.db"))

    assert (root.level, list(root.handlers), logging.getLogger("webapp").disabled) == before


def test_migrate_if_needed_by_processes_that_start_together_migrates_once(tmp_path: Path) -> None:
    gate_read, gate_write = os.pipe()
    code = (
        "import os, sys, webapp; from webapp.database import migrate_if_needed;"
        "app = webapp.create_app(); print('ready', flush=True); os.read(int(sys.argv[1]), 1);"
        "print(migrate_if_needed(app))"
    )
    url = f"sqlite:///{tmp_path}/x.db"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(gate_read)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={"SECRET_KEY": SECRET, "DATABASE_URL": url},
            pass_fds=[gate_read],
        )
        for _ in range(4)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    os.close(gate_read)
    os.close(gate_write)

    printed = sorted(child.communicate(timeout=60)[0].strip() for child in children)

    assert printed == ["False", "False", "False", "True"]
    assert tables_of(make_app(tmp_path / "x.db")) >= TABLES


def test_migrate_if_needed_with_a_revision_of_the_future_is_one_sentence(app: Flask) -> None:
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(database.DatabaseError) as caught:
        database.migrate_if_needed(app)

    assert "9999" in str(caught.value)
    assert "newer" in str(caught.value)


def test_migrate_if_needed_of_an_unreachable_database_is_one_sentence(tmp_path: Path) -> None:
    app = make_app(tmp_path / "x.db", database_url="postgresql://me:hunter2@127.0.0.1:1/none")

    with pytest.raises(database.DatabaseError, match="DATABASE_URL") as caught:
        database.migrate_if_needed(app)

    assert "hunter2" not in str(caught.value)


def test_failed_migration_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    app = make_app(tmp_path / "x.db")
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("CREATE TABLE post (id INTEGER PRIMARY KEY)"))

    with pytest.raises(database.DatabaseError, match="post"):
        database.migrate_if_needed(app)

    assert tables_of(app) == {"post"}
