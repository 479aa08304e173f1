"""An application on a migrated SQLite file of its own, and people who use it.

With `WEBAPP_DATABASE=postgresql` the same tests run on databases of PostgreSQL.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from config import Settings
from tests.support.postgres import PostgresServer, postgres_server
from tests.webapp.people import (
    IN_PLACE_OF,
    MADE_ON_OTHERS,
    ON_POSTGRESQL,
    ApiClient,
    Browser,
    make_app,
)
from webapp import accounts
from webapp.database import migrate_if_needed
from webapp.extensions import db
from webapp.models import USER


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the developer's own settings out of the tests."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / "no.env")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer | None]:
    """Return a server if the tests are to run on PostgreSQL."""
    if not ON_POSTGRESQL:
        yield None
        return
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_database(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer | None
) -> Path:
    """Return a migrated, empty database file, made once and copied by each test."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    if postgres is not None:
        IN_PLACE_OF[path] = postgres.url()
    migrate_if_needed(make_app(path))
    return path


@pytest.fixture
def database_file(
    migrated_database: Path, tmp_path: Path, postgres: PostgresServer | None
) -> Iterator[Path]:
    """Return a migrated, empty database file of the test's own."""
    path = tmp_path / "test.db"
    if postgres is None:
        shutil.copy(migrated_database, path)
        yield path
        return
    IN_PLACE_OF[path] = postgres.url(like=IN_PLACE_OF[migrated_database])
    yield path
    while MADE_ON_OTHERS:
        with MADE_ON_OTHERS.pop().app_context():
            db.session.remove()
            db.engine.dispose()
    postgres.drop(IN_PLACE_OF.pop(path))


@pytest.fixture
def app(database_file: Path) -> Iterator[Flask]:
    """Return the application; its errors are answered as in production."""
    app = make_app(database_file)
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Return a client without cookies or token: nobody."""
    return app.test_client()


@pytest.fixture
def account(app: Flask) -> Callable[..., int]:
    """Return a function that makes an account and returns its id."""

    def make(username: str = "ada", role: str = USER) -> int:
        with app.app_context():
            return accounts.register(username, f"{username}-password", role).id

    return make


@pytest.fixture
def browser(app: Flask, account: Callable[..., int]) -> Callable[..., Browser]:
    """Return a function that makes an account and a browser that is logged in as it."""

    def log_in(username: str = "ada", role: str = USER) -> Browser:
        account(username, role)
        person = Browser(app)
        person.submit("/login", username=username, password=f"{username}-password")
        return person

    return log_in


@pytest.fixture
def api(app: Flask, account: Callable[..., int]) -> Callable[..., ApiClient]:
    """Return a function that makes an account and an API client with its tokens."""

    def obtain(username: str = "ada", role: str = USER) -> ApiClient:
        user_id = account(username, role)
        return ApiClient(app, username, user_id)

    return obtain
