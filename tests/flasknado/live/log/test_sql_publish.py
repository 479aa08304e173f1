"""`live_publish()`, with which whatever writes to PostgreSQL publishes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from flasknado.live import publish_function
from flasknado.live.event import RESERVED_NAMES
from flasknado.live.hub.hub import Hub
from flasknado.live.log import sequencer
from tests.docs.walkthrough import blocks
from tests.flasknado.live.helpers import LiveApp
from tests.flasknado.live.hub_client import joined_client, until, with_hub
from tests.support.postgres import PostgresServer

MakeApp = Callable[..., LiveApp]


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.url()


def connect(url: str) -> psycopg.Connection[Any]:
    plain = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(plain)


@pytest.mark.parametrize("place", ["url", "log_url"])
def test_program_in_sql_publishes_with_its_transaction(
    make_live_app: MakeApp, url: str, place: str
) -> None:
    live_app = make_live_app(**{place: url})
    live_app.cursor()

    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "a")
        with connect(url) as program:
            program.execute("SELECT live_publish('a', 'lost')")
            program.rollback()
            program.execute(
                """SELECT live_publish('a', 'note', '{"text": "größer"}'), live_publish('a', 'x')"""
            )
            program.commit()
            await until(lambda: len(client.events()) == 2)
        events = [m for m in client.received if m["channel"]]
        assert [(m["event"], m["data"]) for m in events] == [
            ("note", {"text": "größer"}),
            ("x", None),
        ]

    with_hub(live_app, body)


def test_program_that_does_not_wake_is_found_in_a_while(
    make_live_app: MakeApp, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequencer, "LOOK_INTERVAL_S", 0.1)
    live_app = make_live_app(url=url)

    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "a")
        with connect(url) as program:
            program.execute("SELECT live_publish('a', 'note', wake => false)")
        await until(lambda: len(client.events()) == 1)

    with_hub(live_app, body)


@pytest.mark.parametrize(
    ("channel", "name", "data", "said"),
    [
        ("a b", "n", "1", "'a b' is not a channel"),
        ("", "n", "1", "'' is not a channel"),
        ("a\n", "n", "1", "is not a channel"),
        ("!revoke", "n", "1", "'!revoke' is not a channel"),
        (None, "n", "1", "NULL is not a channel"),
        ("a" * 129, "n", "1", "is not a channel"),
        ("ä", "n", "1", "is not a channel"),
        ("a", "", "1", "'' is not an event name"),
        ("a", None, "1", "NULL is not an event name"),
        ("a", "x" * 129, "1", "is not an event name"),
        ("a", "x\ny", "1", "is not an event name"),
        ("a", "x\x7f", "1", "is not an event name"),
        ("a", "x\u2028", "1", "is not an event name"),
        *(("a", name, "1", "is not an event name") for name in sorted(RESERVED_NAMES)),
        ("a", "n", '"' + "x" * 65_536 + '"', "at most 65536 bytes, not 65538"),
    ],
)
def test_event_that_cannot_be_is_refused(
    make_live_app: MakeApp, sql_url: str, channel: Any, name: Any, data: str, said: str
) -> None:
    with (
        connect(sql_url) as program,
        pytest.raises(psycopg.errors.InvalidParameterValue, match=re.escape(said)),
    ):
        program.execute("SELECT live_publish(%s, %s, %s)", (channel, name, data))


@pytest.fixture(scope="module")
def sql_url(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    from tests.flasknado.live.helpers import make_app

    url = postgres.url()
    live_app = make_app(tmp_path_factory.mktemp("sql"), url=url)
    with live_app.app.app_context():
        live_app.db.engine.dispose()
    return url


def test_data_is_on_one_line_by_every_reading(make_live_app: MakeApp, url: str) -> None:
    live_app = make_live_app(url=url)
    with connect(url) as program:
        program.execute(
            "SELECT live_publish('a', 'n', to_jsonb(%s::text))", ("a\u2028b\u2029c\x85d\ne",)
        )
        program.commit()
    with live_app.app.app_context():
        [event] = live_app.log.read(0, ["a"], 10).events
    assert len(event.data.splitlines()) == 1
    assert event.data == '"a\\u2028b\\u2029c\\u0085d\\ne"'


def test_function_in_a_schema_of_its_own_finds_the_tables_there(
    make_live_app: MakeApp, url: str
) -> None:
    with connect(url) as program:
        program.execute('CREATE SCHEMA "its Own"')
    live_app = make_live_app(url=url, metadata=sa.MetaData(schema="its Own"))
    with connect(url) as program:
        program.execute("""SELECT "its Own".live_publish('a', 'n')""")
    with live_app.app.app_context():
        assert [event.name for event in live_app.log.read(0, ["a"], 10).events] == ["n"]


def test_command_prints_the_function_for_psql(make_live_app: MakeApp, url: str) -> None:
    live_app = make_live_app(url=url, LIVE_MAX_DATA_BYTES=100)
    printed = live_app.app.test_cli_runner().invoke(args=["live", "sql"]).output
    assert printed == publish_function(max_data_bytes=100).rstrip() + ";\n"
    with connect(url) as program:
        program.execute(printed)
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="at most 100 bytes"):
            program.execute("SELECT live_publish('a', 'n', to_jsonb(repeat('x', 99)))")


def test_function_goes_through_a_migration_as_it_is(make_live_app: MakeApp, url: str) -> None:
    live_app = make_live_app(url=url)
    with live_app.engine().begin() as connection:
        connection.exec_driver_sql("DROP FUNCTION live_publish")
        connection.execute(sa.text(publish_function()))  # as Alembic's `op.execute` does
        connection.exec_driver_sql("SELECT live_publish('a', 'n')")


def test_log_of_its_own_from_an_earlier_version_gets_the_function(
    make_live_app: MakeApp, url: str
) -> None:
    live_app = make_live_app(log_url=url)
    with live_app.engine().begin() as connection:
        connection.exec_driver_sql("DROP FUNCTION live_publish")
    live_app = make_live_app(log_url=url)
    with live_app.engine().begin() as connection:
        connection.exec_driver_sql("SELECT live_publish('a', 'n')")


def test_trigger_of_the_page_publishes_what_psql_changes(make_live_app: MakeApp, url: str) -> None:
    live_app = make_live_app(url=url)
    [recipe] = [block.text for block in blocks("docs/live.md") if block.language == "sql"]

    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "posts")
        with connect(url) as program:
            program.execute("CREATE TABLE post (id int PRIMARY KEY, title text)")
            program.execute(recipe)
            program.commit()
            program.execute("INSERT INTO post VALUES (1, 'Hello')")
            program.execute("UPDATE post SET title = 'Hi'")
            program.execute("DELETE FROM post")
            program.commit()
        await until(lambda: len(client.events()) == 3)
        events = [(m["event"], m["data"]) for m in client.received if m["channel"]]
        assert events == [
            ("post.insert", {"id": 1}),
            ("post.update", {"id": 1}),
            ("post.delete", {"id": 1}),
        ]

    with_hub(live_app, body)
