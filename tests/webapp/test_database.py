"""Engine options, the check that the database answers, and lookups."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from werkzeug.exceptions import NotFound

from tests.webapp.people import make_app
from webapp import database
from webapp.extensions import db
from webapp.models import Comment, Post, User


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
