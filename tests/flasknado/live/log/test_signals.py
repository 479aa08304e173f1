"""Signals: delivered to who is there, on every kind of log, and never replayed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from flasknado.live.event import Cursor, parse_cursor
from flasknado.live.hub.hub import Hub
from flasknado.live.log import tables
from tests.flasknado.live.helpers import LiveApp
from tests.flasknado.live.hub_client import joined_client, until, with_hub
from tests.support.postgres import PostgresServer

MakeApp = Callable[..., LiveApp]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "memory"])
def test_signal_is_delivered_in_order_and_never_replayed(
    make_live_app: MakeApp, kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "memory":
        live_app = make_live_app(log_url="memory://")
    elif kind == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        live_app = make_live_app(url=server.url())
    else:
        live_app = make_live_app()

    async def body(hub: Hub) -> None:
        begin = parse_cursor(live_app.cursor())
        client = await joined_client(hub, "a")
        live_app.publish("a", data=1)
        await until(lambda: len(client.events()) == 1)
        await asyncio.to_thread(live_app.signal, "a", "typing", {"user": "ann"})
        await until(lambda: len(client.events()) == 2)
        assert client.received[-1]["event"] == "typing"
        assert client.received[-1]["data"] == {"user": "ann"}
        live_app.publish("a", data=2)
        late = await joined_client(hub, "a", after=begin)
        await until(lambda: len(late.events()) == 2)
        assert [m["data"] for m in late.received if m["channel"]] == [1, 2]
        assert client.control("reset") == late.control("reset") == []

    with_hub(live_app, body)


def test_signal_without_a_hub_in_the_process_reaches_the_others(make_live_app: MakeApp) -> None:
    serving, program = make_live_app(), make_live_app()

    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "a")
        program.signal("a")
        await until(lambda: len(client.events()) == 1)

    with_hub(serving, body)


def test_signal_without_a_hub_in_a_session_that_writes_goes_with_its_commit(
    live_app: LiveApp,
) -> None:
    with live_app.app.app_context(), live_app.live.capture() as captured:
        live_app.db.session.add(live_app.Note())
        live_app.db.session.flush()
        live_app.live.signal("a", "typing")
        assert captured == []
        live_app.db.session.commit()
    assert [event.name for event in captured] == ["typing"]


def test_signal_that_finds_the_database_locked_is_delivered_when_it_is_free(
    live_app: LiveApp,
) -> None:
    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "a")
        with live_app.app.app_context():
            live_app.db.session.add(live_app.Note())
            live_app.db.session.flush()
            live_app.signal("a")
            await asyncio.sleep(0.3)
            assert client.events() == []
            live_app.db.session.commit()
        await until(lambda: len(client.events()) == 1)

    with_hub(live_app, body)


def test_signals_are_pruned_and_leave_every_cursor_resumable(make_live_app: MakeApp) -> None:
    live_app = make_live_app(LIVE_PRUNE_INTERVAL_S=0.01)
    live_app.publish("a")
    for _ in range(5):
        live_app.signal("a")
    live_app.publish("a")
    with live_app.engine().begin() as connection:
        connection.execute(
            sa.update(tables.live_buffered).values(created_at=tables.time.time() - 11)
        )

    def count() -> int:
        with live_app.engine().connect() as connection:
            rows = connection.execute(sa.select(sa.func.count()).select_from(tables.live_buffered))
            return int(rows.scalar_one())

    async def body(hub: Hub) -> None:
        await until(lambda: count() == 0, "the signals to be pruned")
        epoch = parse_cursor(live_app.cursor()).epoch
        client = await joined_client(hub, "a", after=Cursor(epoch, 3))
        assert client.events() == [("a", 7)]
        assert client.control("reset") == []

    with_hub(live_app, body)


def test_signals_that_wait_are_bounded(live_app: LiveApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flasknado.live.state.MAX_WAITING_SIGNALS", 3)
    state = live_app.app.extensions["live"]
    state.add_waker(lambda: None)
    for _ in range(10):
        live_app.signal("a")
    assert len(state.signals) == 3


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_thousand_signals_a_second_all_arrive_in_order(
    make_live_app: MakeApp, kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        live_app = make_live_app(url=server.url())
    else:
        live_app = make_live_app()
    count, rate_per_s = 2000, 2000

    def send() -> None:
        began_at = time.monotonic()
        with live_app.app.app_context():
            for n in range(count):
                live_app.live.signal("a", "typing", n)
                # No faster, however busy the machine is; slower is no failure.
                time.sleep(max(0.0, began_at + n / rate_per_s - time.monotonic()))

    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "a")
        await asyncio.to_thread(send)
        await until(lambda: len(client.events()) == count)
        assert [message["data"] for message in client.received if message["channel"]] == list(
            range(count)
        )
        assert client.control("reset") == []

    with_hub(live_app, body)
