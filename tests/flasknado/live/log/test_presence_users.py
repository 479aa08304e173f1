"""Presence with names: who joins and leaves, with what is told about them, each change once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from flasknado.live.errors import InvalidIdentity
from flasknado.live.event import Cursor
from flasknado.live.hub import presence_calls
from flasknado.live.hub.hub import Hub, hub_of
from flasknado.live.log import presence, presence_tracker
from flasknado.live.log.base import Busy
from flasknado.live.log.presence import Change, Presence
from flasknado.live.log.presence_tracker import PresenceTracker, snapshot
from flasknado.live.options import LiveOptions
from flasknado.live.state import state_of
from flasknado.live.tickets import MAX_INFO_BYTES, Identity, Tickets
from tests.flasknado.live.helpers import LiveApp
from tests.flasknado.live.hub_client import Client, until, with_hub

Make = Callable[..., LiveApp]
CONFIG: dict[str, Any] = {
    "LIVE_PRESENCE": ["post:*"],
    "LIVE_PRESENCE_USERS": ["room:*"],
    "LIVE_PRESENCE_GRACE_S": 0.01,
}
EVERY_LOG = pytest.mark.parametrize("kind", ["memory", "sqlite", "postgresql"])
SHARED_LOG = pytest.mark.parametrize("kind", ["sqlite", "postgresql"])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_tracker, "WRITE_INTERVAL_S", 0.02)
    monkeypatch.setattr(presence_tracker, "BEAT_INTERVAL_S", 0.1)
    monkeypatch.setattr(presence_tracker, "HEAL_INTERVAL_S", 0.1)


def enter(hub: Hub, channel: str, user: str | None = None, **info: Any) -> Client:
    client = Client(hub, Identity(user, info=info or None))
    hub.admit(client)
    hub.subscribe(client, [channel], None)
    return client


def ask(hub: Hub, channel: str) -> Client:
    asker = enter(hub, channel)
    hub.tell_presence(asker, [channel])
    return asker


def told(client: Client) -> list[dict[str, Any]]:
    return [m["data"] for m in client.received if m["event"] == "presence"]


def changes(client: Client) -> list[tuple[str, str, Any]]:
    return [
        (kind, who["user"], who["info"])
        for data in told(client)
        for kind in ("join", "leave")
        for who in data.get(kind, ())
    ]


@EVERY_LOG
def test_who_asks_is_told_who_joins_and_leaves_with_their_information(
    make: Make, kind: str
) -> None:
    live_app = make(kind, **CONFIG)

    async def body(hub: Hub) -> None:
        enter(hub, "room:1", "eve", name="Eve")
        asker = ask(hub, "room:1")
        users = [{"user": "eve", "info": {"name": "Eve"}}]
        await until(lambda: {"count": 2, "users": users} in told(asker))
        ann = enter(hub, "room:1", "ann", name="Änne")
        await until(lambda: ("join", "ann", {"name": "Änne"}) in changes(asker))
        with live_app.app.app_context():
            there = live_app.live.presence("room:1")
        assert there == Presence(
            {"ann": 1, "eve": 1}, 1, {"ann": {"name": "Änne"}, "eve": {"name": "Eve"}}
        )
        again = enter(hub, "room:1", "ann", name="Änne")
        hub.remove(ann)
        enter(hub, "room:1", "bob")
        await until(lambda: ("join", "bob", None) in changes(asker))
        hub.remove(again)
        await until(lambda: ("leave", "ann", {"name": "Änne"}) in changes(asker))
        assert [c for c in changes(asker) if c[1] == "ann"] == [
            ("join", "ann", {"name": "Änne"}),
            ("leave", "ann", {"name": "Änne"}),
        ]
        assert told(asker)[-1]["count"] == 3

    with_hub(live_app, body)


def test_information_that_changes_is_told_as_a_join(make: Make) -> None:
    async def body(hub: Hub) -> None:
        asker = ask(hub, "room:1")
        enter(hub, "room:1", "ann", mood="sad")
        await until(lambda: changes(asker) == [("join", "ann", {"mood": "sad"})])
        enter(hub, "room:1", "ann", mood="glad")
        await until(lambda: changes(asker)[1:] == [("join", "ann", {"mood": "glad"})])

    with_hub(make("sqlite", **CONFIG), body)


def test_channel_of_counts_only_names_nobody(make: Make) -> None:
    async def body(hub: Hub) -> None:
        asker = ask(hub, "post:1")
        enter(hub, "post:1", "ann", name="Ann")
        await until(lambda: {"count": 2} in told(asker))
        assert all(set(data) == {"count"} for data in told(asker))

    with_hub(make("sqlite", **CONFIG), body)


@EVERY_LOG
def test_user_who_polls_steadily_changes_nothing(make: Make, kind: str) -> None:
    """Each answer of a long-poll is the end of a connection, and the next begins at once."""
    live_app = make(kind, **CONFIG | {"LIVE_PRESENCE_GRACE_S": 3600})

    async def body(hub: Hub) -> None:
        asker = ask(hub, "room:1")
        await until(lambda: told(asker))  # who is there by then has not joined
        poll, nobody = enter(hub, "room:1", "ann"), enter(hub, "room:1")
        await until(lambda: told(asker)[-1]["count"] == 3)
        for _ in range(12):
            hub.remove(poll)
            hub.remove(nobody)
            await asyncio.sleep(0.03)  # longer than the interval at which presence is written
            poll, nobody = enter(hub, "room:1", "ann"), enter(hub, "room:1")
        enter(hub, "room:1", "bob")  # told after all that there might be to tell
        await until(lambda: ("join", "bob", None) in changes(asker))
        assert changes(asker) == [("join", "ann", None), ("join", "bob", None)]
        assert len(told(asker)) <= 6  # a new worker says twice who is there
        assert told(asker)[-1]["count"] == 4

    with_hub(live_app, body)


@EVERY_LOG
def test_first_change_does_not_wait_for_the_interval(
    make: Make, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a second is promised: what comes after a quiet time is written at once."""
    monkeypatch.setattr(presence_tracker, "BEAT_INTERVAL_S", 3600.0)
    live_app = make(kind, **CONFIG)

    async def body(hub: Hub) -> None:
        enter(hub, "room:1", "ann")
        with live_app.app.app_context():
            await until(lambda: live_app.live.presence("room:1").count == 1)
            monkeypatch.setattr(presence_tracker, "WRITE_INTERVAL_S", 3600.0)
            # The writer goes to sleep for as long as it may, and then it is quiet for long enough.
            await asyncio.sleep(0.2)
            hub._presence_tracker._write_at = 0.0
            enter(hub, "room:1", "bob")
            await until(lambda: live_app.live.presence("room:1").count == 2)

    with_hub(live_app, body)


@SHARED_LOG
def test_user_of_two_workers_joins_and_leaves_once(
    make: Make, make_live_app: Make, kind: str
) -> None:
    first = make(kind, **CONFIG)
    second = make_live_app(url=first.app.config["SQLALCHEMY_DATABASE_URI"], **CONFIG)
    calls: list[tuple[str, str, str, Any]] = []
    threads: set[str] = set()

    def note(kind: str, channel: str, user: str, info: Any) -> None:
        calls.append((kind, channel, user, info))
        threads.add(threading.current_thread().name)

    for live_app in (first, second):
        live_app.live.on_join("room:*")(lambda *said: note("join", *said))
        live_app.live.on_leave(lambda *said: note("leave", *said))

    async def body(hub: Hub) -> None:
        other = hub_of(state_of(second.app))
        try:
            await other.ready()
            asker = ask(hub, "room:1")
            anns = [enter(h, "room:1", "ann", n=1) for h in (hub, other, hub, other)]
            await until(lambda: changes(asker) == [("join", "ann", {"n": 1})])
            with first.app.app_context():  # both workers have written it
                await until(lambda: first.live.presence("room:1").users == {"ann": 4})
            for client in anns[:3]:
                client.hub.remove(client)
            enter(other, "room:1", "bob")
            await until(lambda: ("join", "bob", None) in changes(asker))
            other.remove(anns[3])
            await until(lambda: changes(asker)[-1] == ("leave", "ann", {"n": 1}))
            expected = [
                ("join", "ann", {"n": 1}),
                ("join", "bob", None),
                ("leave", "ann", {"n": 1}),
            ]
            assert changes(asker) == expected
            await until(lambda: len(calls) == len(expected))
        finally:
            await asyncio.to_thread(lambda: None)
            other.close()

    with_hub(first, body)
    assert sorted(calls[:2]) == [
        ("join", "room:1", "ann", {"n": 1}),
        ("join", "room:1", "bob", None),
    ]
    assert calls[2] == ("leave", "room:1", "ann", {"n": 1})
    assert threads == {"flasknado-live-presence-hooks"}


@SHARED_LOG
def test_roster_that_is_wrong_heals(make: Make, kind: str) -> None:
    live_app = make(kind, **CONFIG)

    async def body(hub: Hub) -> None:
        asker = ask(hub, "room:1")
        enter(hub, "room:1", "ann")
        await until(lambda: changes(asker) == [("join", "ann", None)])
        roster = presence.live_roster
        with live_app.engine().begin() as connection:
            connection.execute(sa.delete(roster))
            connection.execute(sa.insert(roster).values(channel="room:1", user_id="ghost"))
        await until(lambda: ("leave", "ghost", None) in changes(asker))
        await until(lambda: changes(asker).count(("join", "ann", None)) == 2)

    with_hub(live_app, body)


@EVERY_LOG
def test_change_that_could_not_be_told_at_once_is_told_later(
    make: Make, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The roster has it already, so no other worker will."""
    live_app = make(kind, **CONFIG)
    busy = 0

    async def body(hub: Hub) -> None:
        nonlocal busy
        asker = ask(hub, "room:1")
        await until(lambda: told(asker))
        tell = PresenceTracker._tell

        def tell_later(self: PresenceTracker, *args: Any) -> None:
            nonlocal busy
            if busy < 3:
                busy += 1
                raise Busy("the database is locked")
            tell(self, *args)

        monkeypatch.setattr(PresenceTracker, "_tell", tell_later)
        enter(hub, "room:1", "ann")
        await until(lambda: changes(asker) == [("join", "ann", None)])
        assert busy == 3

    with_hub(live_app, body)


def test_function_that_fails_or_is_slow_stops_neither_presence_nor_the_next_call(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(presence_calls, "MAX_WAITING", 2)
    live_app = make("sqlite", **CONFIG)
    heard: list[str] = []
    go_on = threading.Event()

    @live_app.live.on_join
    def joined(channel: str, user: str, info: Any) -> None:
        heard.append(user)
        go_on.wait(10)
        raise ValueError("a defect of the application")

    async def body(hub: Hub) -> None:
        for n in range(6):
            enter(hub, "room:1", f"user {n}")
            with live_app.app.app_context():
                await until(lambda n=n: live_app.live.presence("room:1").count == n + 1)
            await until(lambda: heard)  # the first waits no more
        await until(lambda: hub._presence_calls._dropped == 3)
        assert "further ones are dropped" in caplog.text
        go_on.set()
        await until(lambda: len(heard) == 3)
        await until(lambda: "3 changes of presence were dropped" in caplog.text)

    with_hub(live_app, body)
    assert heard == ["user 0", "user 1", "user 2"]
    assert "a defect of the application" in caplog.text


def test_many_users_go_into_several_events_and_no_snapshot() -> None:
    users = {f"user {n}": 1 for n in range(1000)}
    info = {user: {"name": "n" * 50} for user in users}
    assert snapshot(Presence(users, 0, info), named=True) == '{"count":1000}'
    joined = [Change("room:1", user, '{"name":"%s"}' % ("n" * 50)) for user in users]
    parts = presence_tracker._told(1000, joined)
    assert len(parts) > 1
    assert all(len(part) < presence_tracker.ROSTER_BYTES + 2048 for part in parts)


def test_connections_that_come_and_go_leave_nothing_behind() -> None:
    tracker = PresenceTracker(LiveOptions(presence=("a",), presence_grace_s=0.001))
    for _ in range(100):
        tracker.enter(["a"], "ann", '{"n":1}')
        tracker.leave(["a"], "ann")
    tracker._let_go(float("inf"))
    left = (tracker._connections, tracker._info, tracker._leaving, tracker._left, tracker._replaced)
    assert [len(what) for what in left] == [0] * 5


def test_information_travels_in_tickets() -> None:
    tickets = Tickets("a secret of the tests")
    ann = Identity("ann", session_id="s1", info={"name": "Ännchen"})
    ticket = tickets.check(tickets.issue(ann, ["a"], Cursor("e", 1), 0.0), 0.0)
    assert ticket is not None
    assert ticket.identity == ann
    assert ticket.identity.info == {"name": "Ännchen"}


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (["Ann"], "info must be a dict or None, not list"),
        ({"born": object()}, "info must be JSON serializable"),
        ({"name": "ä" * MAX_INFO_BYTES}, "info may have at most 1024 bytes as JSON, not 6155"),
    ],
)
def test_information_that_breaks_the_rules_is_refused(info: Any, message: str) -> None:
    with pytest.raises(InvalidIdentity, match=message):
        Identity("ann", info=info)
