"""Workers that write presence at once, on PostgreSQL: none deadlocks, none waits for another."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from flasknado.live.log import presence
from flasknado.live.log.tables import metadata
from tests.support.poll import poll
from tests.support.postgres import PostgresServer


@pytest.fixture
def engine(postgres: PostgresServer) -> Iterator[sa.Engine]:
    engine = sa.create_engine(postgres.url(), connect_args={"options": "-c lock_timeout=10s"})
    metadata.create_all(engine)
    yield engine
    engine.dispose()


def waiting_for_a_lock(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        query = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return int(connection.exec_driver_sql(query).scalar_one())


def test_worker_that_is_forgotten_while_it_writes_is_no_deadlock(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        presence.see(connection, "late", {("post:1", "ann"): 1})
    failed: list[Exception] = []

    def forget() -> None:
        try:
            with engine.begin() as connection:
                presence.forget(connection, ["late"])
        except Exception as error:
            failed.append(error)

    with engine.begin() as connection:
        presence.see(connection, "late", {})
        forgetting = threading.Thread(target=forget)
        forgetting.start()
        poll(lambda: waiting_for_a_lock(engine))
        presence.see(connection, "late", {("post:1", "ann"): 2})
    forgetting.join(20)

    assert failed == []


def test_worker_that_is_late_and_comes_back_is_not_cleared_away(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        presence.see(connection, "late", {("post:1", "ann"): 1})
        connection.execute(sa.update(presence.live_worker).values(seen_at=0))

    with engine.begin() as coming_back, engine.begin() as other:
        presence.see(coming_back, "late", {})
        assert presence.see(other, "other", {}).lost == set()

    with engine.connect() as connection:
        assert presence.read(connection, "post:1") == presence.Presence({"ann": 1}, 0)


def test_worker_that_is_gone_is_cleared_away(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        presence.see(connection, "gone", {("post:1", "ann"): 1})
        connection.execute(sa.update(presence.live_worker).values(seen_at=0))

    with engine.begin() as connection:
        assert presence.see(connection, "other", {}).lost == {"post:1"}
