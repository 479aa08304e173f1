"""A PostgreSQL that fails over to a standby behind it, which then goes another way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from flasknado.live.event import parse_cursor
from flasknado.live.hub.hub import Hub
from flasknado.live.log import origin, tables
from flasknado.live.log.wakeup import Wakeup
from flasknado.live.options import LiveOptions
from tests.flasknado.live.helpers import LiveApp
from tests.flasknado.live.hub_client import joined_client, until, with_hub
from tests.support.postgres import PostgresServer, postgres_server

MakeApp = Callable[..., LiveApp]


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with postgres_server() as one:
        yield one


def test_log_that_goes_back_and_grows_past_a_cursor_before_anybody_looks_is_reset(
    make_live_app: MakeApp, server: PostgresServer
) -> None:
    url = server.url()
    live_app = make_live_app(url=url)
    other = make_live_app(url=url)

    def publish(program: LiveApp, count: int) -> None:
        for n in range(count):
            program.publish("a", data=n)
        program.settle()

    async def body(hub: Hub) -> None:
        publish(live_app, 3)
        server.copy_for_a_standby()
        publish(live_app, 2)
        client = await joined_client(hub, "a", after=parse_cursor(start))
        await until(lambda: len(client.events()) == 5)
        hub._reader.stop()  # this worker is busy elsewhere
        for program in (live_app, other):
            program.log.close()
            with program.app.app_context():
                program.db.engine.dispose()
        server.fail_over()
        publish(other, 4)  # two of them have the offsets of two that are lost
        assert other.cursor() == f"{parse_cursor(start).epoch}:7"
        hub._reader = type(hub._reader)(live_app.log, hub.options, hub.loop, hub._on_report)
        hub._reader._cursor = hub.cursor
        hub._reader.start()
        await until(lambda: client.control("reset"), "a reset")
        assert parse_cursor(live_app.cursor()).epoch != parse_cursor(start).epoch

    start = live_app.cursor()
    with_hub(live_app, body)


def test_program_that_reads_without_a_server_notices_a_fail_over_too(
    make_live_app: MakeApp, server: PostgresServer
) -> None:
    live_app = make_live_app(url=server.url())
    live_app.publish("a")
    with live_app.app.app_context():
        before = live_app.log.read(0, ["a"], 10)
    server.copy_for_a_standby()
    live_app.publish("a")
    live_app.log.close()
    with live_app.app.app_context():
        live_app.db.engine.dispose()
    server.fail_over()
    for _ in range(2):
        live_app.publish("a")
    with live_app.app.app_context():
        after = live_app.log.read(0, ["a"], 10)
    assert after.head == 3
    assert after.epoch != before.epoch


def test_origin_is_adopted_by_a_log_that_has_none_and_noted_once(
    make_live_app: MakeApp, postgres: PostgresServer
) -> None:
    live_app = make_live_app(url=postgres.url())
    cursor = live_app.cursor()
    for _ in range(2):
        wakeup = Wakeup()
        with live_app.log.following(wakeup, LiveOptions()) as follower:
            assert follower.bounds().epoch == parse_cursor(cursor).epoch
        wakeup.close()
    with live_app.engine().connect() as connection:
        rows = connection.execute(tables.live_log.select()).all()
    assert sorted(row.id for row in rows) == [1, origin.ROW]
