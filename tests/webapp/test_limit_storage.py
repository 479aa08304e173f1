"""Counts in the database: exact under concurrency, begun anew in time, and few; on both kinds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from tests.support.postgres import postgres_server
from tests.webapp.people import make_app
from webapp.database import migrate_if_needed
from webapp.extensions import db
from webapp.limit_storage import DatabaseStorage
from webapp.records import AttemptCount

THREADS, TIMES = 6, 20


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with postgres_server() as server:
        yield server.url()


@pytest.fixture(params=["sqlite", "postgresql"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flask]:
    """Return an application on each kind of database, without any count."""
    settings = {}
    if request.param == "postgresql":
        settings["database_url"] = request.getfixturevalue("postgres_url")
    app = make_app(tmp_path / "x.db", **settings)
    migrate_if_needed(app)
    with app.app_context():
        storage.reset()
        yield app
        db.session.remove()
        db.engine.dispose()


storage = DatabaseStorage()


def test_count_rises_and_is_forgotten(app: Flask) -> None:
    assert storage.get("key") == 0
    assert [storage.incr("key", 60) for _ in range(3)] == [1, 2, 3]
    assert storage.incr("key", 60, amount=5) == 8
    assert storage.get("key") == 8
    assert storage.get("other") == 0
    storage.clear("key")
    assert storage.get("key") == 0
    assert storage.check()


def test_count_of_threads_at_the_same_moment_is_exact(app: Flask) -> None:
    def count() -> None:
        with app.app_context():
            for _ in range(TIMES):
                storage.incr("key", 60)

    threads = [threading.Thread(target=count) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert storage.get("key") == THREADS * TIMES


def test_count_begins_anew_when_its_time_is_over_and_not_before(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000_000.0
    monkeypatch.setattr("webapp.limit_storage.time.time", lambda: now)
    storage.incr("key", 60)
    now += 59
    assert storage.incr("key", 60) == 2
    assert storage.get_expiry("key") == 1_000_060, "a count that rises lasts no longer"
    now += 1
    assert storage.get("key") == 0
    assert storage.incr("key", 60) == 1
    assert storage.get_expiry("key") == now + 60


def test_counts_that_are_over_are_removed(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000.0
    monkeypatch.setattr("webapp.limit_storage.time.time", lambda: now)
    for n in range(30):
        storage.incr(f"key-{n}", 60)
    now += 61
    for n in range(3):
        storage.incr(f"new-{n}", 60)

    assert db.session.query(AttemptCount).count() == 3


def test_note_lasts_from_its_last_time(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000.0
    monkeypatch.setattr("webapp.limit_storage.time.time", lambda: now)
    for _ in range(2):
        storage.note("key", 60)
        db.session.commit()
        now += 50

    assert storage.get("key") == 1


def test_database_that_fails_is_not_taken_for_no_count(app: Flask) -> None:
    db.session.execute(db.text("DROP TABLE attempt_count"))
    db.session.commit()
    try:
        with pytest.raises(SQLAlchemyError):
            storage.get("key")
        with pytest.raises(SQLAlchemyError):
            storage.incr("key", 60)
    finally:
        db.session.rollback()
        AttemptCount.__table__.create(db.engine)
