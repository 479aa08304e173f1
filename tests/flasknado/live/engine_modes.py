"""Applications with every engine mode in the table of docs/live.md, "Other engines"."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.flasknado.live.helpers import LiveApp
from tests.support.pgbouncer import Pgbouncer
from tests.support.postgres import PostgresServer

CONVENTION = {
    "ix": "idx_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "%(table_name)s_pk",
}
MODES = (
    "sqlite",
    "sqlite, BEGIN",
    "sqlite, BEGIN IMMEDIATE",
    "sqlite, autocommit=False",
    "sqlite, naming convention",
    "sqlite, bind",
    "postgresql",
    "postgresql, REPEATABLE READ",
    "postgresql, SERIALIZABLE",
    "postgresql, serializable by default",
    "postgresql, schema",
    "postgresql, naming convention",
    "postgresql, pgbouncer",
    "postgresql, pgbouncer and a direct URL",
)

Make = Callable[..., LiveApp]


def make_in_mode(mode: str, make: Make, folder: Path, request: pytest.FixtureRequest) -> LiveApp:
    """Return an application in one of the `MODES`; `make` is `make_app` with a folder."""
    database, _, detail = mode.partition(", ")
    if database == "sqlite":
        return _with_sqlite(detail, make, folder)
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.url()
    if detail.isupper():
        return make(url=url, SQLALCHEMY_ENGINE_OPTIONS={"isolation_level": detail})
    if detail == "serializable by default":
        options = {"options": "-c default_transaction_isolation=serializable"}
        return make(url=url, SQLALCHEMY_ENGINE_OPTIONS={"connect_args": options})
    if detail == "schema":
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql('CREATE SCHEMA "its Own"')
        engine.dispose()
        return make(url=url, metadata=sa.MetaData(schema="its Own"))
    if detail == "naming convention":
        return make(url=url, metadata=sa.MetaData(naming_convention=CONVENTION))
    if detail.startswith("pgbouncer"):
        pgbouncer: Pgbouncer = request.getfixturevalue("pgbouncer")
        config: dict[str, Any] = {}
        if "direct" in detail:
            config["LIVE_LISTEN_DATABASE_URI"] = url
        # What SQLAlchemy and psycopg need behind a pooler.
        options = {"poolclass": sa.NullPool, "connect_args": {"prepare_threshold": None}}
        return make(url=pgbouncer.url(url), SQLALCHEMY_ENGINE_OPTIONS=options, **config)
    return make(url=url)


def _with_sqlite(detail: str, make: Make, folder: Path) -> LiveApp:
    if detail == "naming convention":
        return make(metadata=sa.MetaData(naming_convention=CONVENTION))
    if detail == "bind":
        binds = {"events": f"sqlite:///{folder}/events.db"}
        return make(bind_key="events", SQLALCHEMY_BINDS=binds)
    if detail == "autocommit=False":
        if sys.version_info < (3, 12):
            pytest.skip("the driver has it from Python 3.12")
        options = {"connect_args": {"autocommit": False}}
        return make(SQLALCHEMY_ENGINE_OPTIONS=options)
    live_app = make()
    if detail:
        with live_app.app.app_context():
            engine = live_app.db.engine

        # As SQLAlchemy documents it ("Enabling Non-Legacy SQLite Transactional Modes").
        @sa.event.listens_for(engine, "connect")
        def connected(dbapi_connection: Any, record: Any) -> None:
            dbapi_connection.isolation_level = None

        @sa.event.listens_for(engine, "begin")
        def begun(connection: sa.Connection) -> None:
            connection.exec_driver_sql(detail)

        engine.dispose()
    return live_app
