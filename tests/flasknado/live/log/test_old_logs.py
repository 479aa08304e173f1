"""A log that an earlier version made goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from flasknado.live.event import Cursor
from flasknado.live.hub.hub import Hub
from tests.flasknado.live.helpers import LiveApp
from tests.flasknado.live.hub_client import joined_client, until, with_hub
from tests.support.postgres import PostgresServer

OLD = (
    "CREATE TABLE live_log (id INTEGER NOT NULL PRIMARY KEY, epoch VARCHAR(32) NOT NULL,"
    " head BIGINT NOT NULL, floor BIGINT NOT NULL)",
    'CREATE TABLE live_event ("offset" {integer} NOT NULL PRIMARY KEY, channel VARCHAR(128) NOT'
    " NULL, name VARCHAR(128) NOT NULL, data TEXT NOT NULL, kept BOOLEAN NOT NULL,"
    " created_at {double} NOT NULL)",
    'CREATE INDEX ix_live_event_channel_offset ON live_event (channel, "offset")',
    'CREATE INDEX ix_live_event_signal ON live_event ("offset") WHERE NOT kept',
    "INSERT INTO live_log VALUES (1, 'old', 3, 0)",
    "INSERT INTO live_event VALUES (1, 'a', 'n', '1', true, {now})",
    "INSERT INTO live_event VALUES (2, 'a', 'signal', '1', false, {now})",
    "INSERT INTO live_event VALUES (3, 'a', 'n', '1', true, {now})",
)


@pytest.mark.parametrize("place", ["apart", "in the application's database"])
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_old_log_goes_on_with_its_events_and_cursors(
    make_live_app: Callable[..., LiveApp],
    kind: str,
    place: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    if kind == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.url()
    types = {"integer": "INTEGER", "double": "DOUBLE"}
    if kind == "postgresql":
        types = {"integer": "BIGINT", "double": "DOUBLE PRECISION"}
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in OLD:
            connection.exec_driver_sql(statement.format(**types, now=time.time()))
    engine.dispose()
    live_app = make_live_app(**{"log_url" if place == "apart" else "url": url})
    assert live_app.cursor() == "old:3"

    async def body(hub: Hub) -> None:
        live_app.publish("a", "b")
        client = await joined_client(hub, "a", "b", after=Cursor("old", 0))
        await until(lambda: len(client.events()) == 4)
        assert client.events() == [("a", 1), ("a", 3), ("a", 4), ("b", 5)]
        assert client.control("reset") == []

    with_hub(live_app, body)
