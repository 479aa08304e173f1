"""What every kind of log keeps to: SQLite and PostgreSQL, joined or apart, and memory.

Through the real extension and the real hub.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from flasknado.live.event import Cursor, parse_cursor
from flasknado.live.hub.hub import Hub
from flasknado.live.log import reader as live_log
from tests.flasknado.live.helpers import LiveApp
from tests.flasknado.live.hub_client import Client, joined_client, until, with_hub
from tests.support.postgres import PostgresServer

ROOT = Path(__file__).parents[3]
IN_SESSION = ("sqlite", "postgresql")
IN_DATABASE = (*IN_SESSION, "sqlite apart", "postgresql apart")
KINDS = (*IN_DATABASE, "memory")

MakeApp = Callable[..., LiveApp]


@pytest.mark.parametrize("kind", KINDS)
def test_events_arrive_in_order_with_offsets_that_rise_by_one(make: MakeApp, kind: str) -> None:
    live_app = make(kind)

    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "a", "b")
        live_app.publish(*"abcab", data={"text": "größer 🎈"})
        await until(lambda: len(client.events()) == 4)
        assert client.events() == [("a", 1), ("b", 2), ("a", 4), ("b", 5)]
        assert client.received[-1]["data"] == {"text": "größer 🎈"}

    with_hub(live_app, body)


@pytest.mark.parametrize("kind", KINDS)
def test_concurrent_publishers_nothing_is_lost_or_comes_twice(make: MakeApp, kind: str) -> None:
    live_app = make(kind)
    publishers, each = 6, 15

    def publish(number: int) -> None:
        for n in range(each):
            live_app.publish("a", *(["b"] * (n % 3)), data=[number, n])

    async def body(hub: Hub) -> None:
        first = await joined_client(hub, "a")
        threads = [threading.Thread(target=publish, args=(n,)) for n in range(publishers)]
        for thread in threads:
            thread.start()
        begun = parse_cursor(await asyncio.to_thread(live_app.cursor))
        second = await joined_client(hub, "a", after=begun)
        await until(lambda: len(first.events()) == publishers * each)
        for thread in threads:
            thread.join()
        offsets = [offset for _, offset in first.events()]
        assert offsets == sorted(set(offsets))
        for number in range(publishers):
            mine = [m["data"][1] for m in first.received if m["data"] and m["data"][0] == number]
            assert mine == list(range(each))
        later = [event for event in first.events() if event[1] > begun.offset]
        await until(lambda: len(second.events()) == len(later))
        assert second.events() == later

    with_hub(live_app, body)


@pytest.mark.parametrize("kind", KINDS)
def test_catch_up_in_batches_joins_the_live_flow(
    make: MakeApp, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_log, "CATCH_UP_BATCH_EVENTS", 7)
    live_app = make(kind)
    begin = parse_cursor(live_app.cursor())
    live_app.publish(*["a"] * 50)

    async def body(hub: Hub) -> None:
        client = Client(hub)
        hub.admit(client)
        hub.subscribe(client, ["a"], begin)
        for _ in range(10):
            await asyncio.to_thread(live_app.publish, "a")
        await until(lambda: len(client.events()) == 60)
        assert [offset for _, offset in client.events()] == list(range(1, 61))
        assert client.control("reset") == []

    with_hub(live_app, body)


@pytest.mark.parametrize("case", ["pruned", "ahead", "another log"])
@pytest.mark.parametrize("kind", KINDS)
def test_cursor_that_cannot_be_resumed_gets_a_reset(make: MakeApp, kind: str, case: str) -> None:
    live_app = make(kind, LIVE_RETENTION_EVENTS=3, LIVE_PRUNE_INTERVAL_S=0.01)
    epoch = parse_cursor(live_app.cursor()).epoch
    live_app.publish(*["a"] * 10)
    after = {
        "pruned": Cursor(epoch, 6),
        "ahead": Cursor(epoch, 11),
        "another log": Cursor("other", 9),
    }[case]

    async def body(hub: Hub) -> None:
        # The last cursor that can be resumed, once pruning has come so far.
        async def pruned() -> bool:
            probe = await joined_client(hub, "a", after=Cursor(epoch, 0))
            hub.remove(probe)
            return bool(probe.control("reset"))

        while not await pruned():
            await asyncio.sleep(0.01)
        client = await joined_client(hub, "a", after=after)
        assert client.control("reset") == [f"{epoch}:10"]
        kept = await joined_client(hub, "a", after=Cursor(epoch, 7))
        assert [offset for _, offset in kept.events()] == [8, 9, 10]
        live_app.publish("a")
        await until(lambda: client.events() == [("a", 11)])

    with_hub(live_app, body)


@pytest.mark.parametrize("kind", IN_SESSION)
def test_rolled_back_transaction_and_savepoint_publish_nothing(make: MakeApp, kind: str) -> None:
    live_app = make(kind)
    session = live_app.db.session
    with live_app.app.app_context(), live_app.live.capture() as captured:
        live_app.live.publish("a", "lost")
        session.rollback()
        live_app.live.publish("a", "first")
        savepoint = session.begin_nested()
        live_app.live.publish("a", "lost too")
        savepoint.rollback()
        with session.begin_nested():
            live_app.live.publish("a", "second")
        session.commit()
    assert [event.name for event in captured] == ["first", "second"]
    # On PostgreSQL they get their offsets later.
    assert [event.offset for event in captured] == ([1, 2] if kind == "sqlite" else [0, 0])
    live_app.settle()
    assert parse_cursor(live_app.cursor()).offset == 2


@pytest.mark.parametrize("kind", ["sqlite apart", "postgresql apart", "memory"])
def test_log_apart_from_the_application_commits_by_itself(make: MakeApp, kind: str) -> None:
    live_app = make(kind)
    with live_app.app.app_context(), live_app.live.capture() as captured:
        live_app.live.publish("a", "n", 1)
        live_app.db.session.rollback()
        live_app.settle()
        assert live_app.live.cursor().endswith(":1")
        with pytest.raises(Exception, match="publish without a session"):
            live_app.live.publish("a", "n", session=live_app.db.session)
    assert [event.name for event in captured] == ["n"]


@pytest.mark.parametrize("kind", IN_DATABASE)
def test_event_of_another_process_arrives(make: MakeApp, kind: str, tmp_path: Path) -> None:
    # PostgreSQL is not even looked at in this time: it must be NOTIFY.
    live_app = make(kind, LIVE_POLL_S=3600 if kind.startswith("postgresql") else 0.02)
    url = live_app.engine().url.render_as_string(hide_password=False)
    option = "log_url" if "apart" in kind else "url"
    code = (
        "import sys; from pathlib import Path; from tests.flasknado.live.helpers import make_app;"
        f"make_app(Path(sys.argv[1]), 'other.db', {option}=sys.argv[2]).publish('a', 'a')"
    )

    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "a")
        await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", code, str(tmp_path), url],
            cwd=ROOT,
            check=True,
        )
        await until(lambda: client.events() == [("a", 1), ("a", 2)])

    with_hub(live_app, body)


@pytest.mark.parametrize("kind", IN_DATABASE)
def test_log_that_went_back_gets_a_new_name_and_everybody_a_reset(make: MakeApp, kind: str) -> None:
    live_app = make(kind)
    live_app.publish(*["a"] * 3)
    live_app.settle()
    old = parse_cursor(live_app.cursor())

    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "a")
        # A backup of when there was one event is restored, and nobody is told.
        with live_app.engine().begin() as connection:
            connection.exec_driver_sql('DELETE FROM live_event WHERE "offset" > 1')
            connection.exec_driver_sql("UPDATE live_log SET head = 1")
        await until(lambda: client.control("reset"), "the reset")
        # Now it grows past the cursors of the lost future.
        live_app.publish(*["a"] * 4)
        await until(lambda: len(client.events()) == 4)
        late = await joined_client(hub, "a", after=old)
        assert late.control("reset") == [live_app.cursor()]
        assert late.events() == []

    with_hub(live_app, body)


def test_memory_log_of_a_server_with_several_processes_is_refused(make: MakeApp) -> None:
    live_app = make("memory")
    with (
        live_app.app.test_request_context(multiprocess=True),
        pytest.raises(Exception, match="use one worker"),
    ):
        live_app.live.publish("a", "n")


@pytest.mark.parametrize("kind", ["sqlite", "sqlite apart"])
def test_sqlite_at_its_size_limit_refuses_the_commit_and_recovers_by_pruning(
    make: MakeApp, kind: str
) -> None:
    live_app = make(kind, LIVE_RETENTION_EVENTS=5, LIVE_PRUNE_INTERVAL_S=3600)
    live_app.cursor()
    engine = live_app.engine()
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

    @sa.event.listens_for(engine, "checkout")
    def limit(connection: object, *args: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages + 20}")  # type: ignore[attr-defined]

    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "a")
        published = _fill(live_app)
        assert published > 5
        with pytest.raises(sa.exc.OperationalError, match="full"):
            live_app.publish("a", data="x" * 4000)
        await until(lambda: len(client.events()) == published)
        assert parse_cursor(live_app.cursor()).offset == published
        hub._reader._prune_at = 0.0
        hub._reader.wake()
        await until(lambda: _oldest(live_app) > 1, "the log to be pruned")
        live_app.publish("a", data="x" * 4000)
        await until(lambda: len(client.events()) == published + 1)
        assert client.control("reset") == []

    with_hub(live_app, body)


def _fill(live_app: LiveApp) -> int:
    """Publish until the database is full; return how often it worked."""
    for published in range(1000):
        try:
            live_app.publish("a", data="x" * 4000)
        except sa.exc.OperationalError:
            return published
    raise AssertionError("the database did not fill up")


def _oldest(live_app: LiveApp) -> int:
    with live_app.engine().connect() as connection:
        return int(connection.exec_driver_sql('SELECT min("offset") FROM live_event').scalar_one())


@pytest.mark.parametrize("kind", ["postgresql", "postgresql apart"])
def test_postgresql_restarted_in_a_crash_nothing_is_skipped(
    make: MakeApp, kind: str, postgres: PostgresServer
) -> None:
    live_app = make(kind)

    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "a")
        live_app.publish("a")
        await until(lambda: len(client.events()) == 1)
        postgres.stop()
        try:
            await until(lambda: not hub.stats()["log_readable"], "the outage to be noticed")
            with pytest.raises(sa.exc.OperationalError):
                live_app.publish("a")
        finally:
            postgres.start()
        # Published before the hub has come back.
        await asyncio.to_thread(_publish_patiently, live_app)
        await until(lambda: len(client.events()) == 2)
        live_app.publish("a")
        await until(lambda: [offset for _, offset in client.events()] == [1, 2, 3])
        assert client.control("reset") == []

    with_hub(live_app, body)


def _publish_patiently(live_app: LiveApp) -> None:
    try:
        live_app.publish("a")
    except sa.exc.OperationalError:  # a pooled connection of before the crash
        live_app.engine().dispose()
        live_app.publish("a")


@pytest.mark.parametrize("kind", ["postgresql"])
def test_listener_cut_off_by_the_server_comes_back_and_skips_nothing(
    make: MakeApp, kind: str
) -> None:
    live_app = make(kind)

    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "a")
        for n in range(3):
            with live_app.engine().begin() as connection:
                connection.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            live_app.engine().dispose()
            live_app.publish("a", "b")
            await until(lambda n=n: len(client.events()) == n + 1)
        assert client.control("reset") == []

    with_hub(live_app, body)
