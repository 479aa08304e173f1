"""Presence: who is on a channel, over all workers, also after one of them crashed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from flasknado.errors import ConfigurationError
from flasknado.live.hub.hub import Hub, hub_of
from flasknado.live.log import presence, presence_tracker
from flasknado.live.log.base import Follower
from flasknado.live.log.presence import Presence
from flasknado.live.log.reader import Reader
from flasknado.live.state import state_of
from flasknado.live.tickets import Access, Identity
from tests.flasknado.live.endpoints.test_websocket import opened
from tests.flasknado.live.helpers import LiveApp, SseClient, wait_for
from tests.flasknado.live.hub_client import Client, joined_client, until, with_hub
from tests.support.postgres import PostgresServer
from tests.support.serving import Serving

MakeApp = Callable[..., LiveApp]
PRESENCE: dict[str, Any] = {
    "LIVE_PRESENCE": ["post:*"],
    "LIVE_PRESENCE_USERS": ["room:*"],
    "LIVE_PRESENCE_GRACE_S": 0.01,
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_tracker, "WRITE_INTERVAL_S", 0.02)
    monkeypatch.setattr(presence_tracker, "BEAT_INTERVAL_S", 0.1)


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def watching(request: pytest.FixtureRequest, make_live_app: MakeApp) -> LiveApp:
    """Return an application that counts who is on its posts, on every kind of log."""
    if request.param == "memory":
        return make_live_app(log_url="memory://", **PRESENCE)
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        return make_live_app(url=server.url(), **PRESENCE)
    return make_live_app(**PRESENCE)


def present(live_app: LiveApp, channel: str = "post:1") -> Presence:
    with live_app.app.app_context():
        return live_app.live.presence(channel)


def enter(hub: Hub, user: str | None, *channels: str) -> Client:
    client = Client(hub, Identity(user))
    hub.admit(client)
    hub.subscribe(client, channels or ["post:1"], None)
    return client


def counts(client: Client) -> list[int]:
    return [m["data"]["count"] for m in client.received if m["event"] == "presence"]


def test_presence_counts_users_once_and_nobody_each_time(watching: LiveApp) -> None:
    async def body(hub: Hub) -> None:
        ann = enter(hub, "ann")
        others = [enter(hub, user, "post:1", "post:2") for user in ("ann", "bob", None, None)]
        expected = Presence({"ann": 2, "bob": 1}, 2)
        await until(lambda: present(watching) == expected)
        assert expected.count == 4
        assert present(watching, "post:2") == Presence({"ann": 1, "bob": 1}, 2)
        hub.remove(ann)
        hub.unsubscribe(others[1], ["post:1"])
        hub.remove(others[2])
        await until(lambda: present(watching) == Presence({"ann": 1}, 1))
        for client in others:
            hub.remove(client)
        await until(lambda: present(watching) == Presence({}, 0))

    with_hub(watching, body)


def test_presence_is_told_to_those_who_ask(watching: LiveApp) -> None:
    async def body(hub: Hub) -> None:
        asker, other = enter(hub, "ann"), enter(hub, "bob")
        hub.tell_presence(asker, ["post:1", "unwatched"])
        await until(lambda: counts(asker)[-1:] == [2])
        third = enter(hub, None)
        await until(lambda: counts(asker)[-1:] == [3])
        hub.remove(third)
        hub.remove(other)
        await until(lambda: counts(asker)[-1:] == [1])
        assert counts(other) == counts(third) == []
        assert {m["channel"] for m in asker.received if m["event"] == "presence"} == {"post:1"}

    with_hub(watching, body)


def test_client_that_names_itself_later_moves_to_its_user(watching: LiveApp) -> None:
    async def body(hub: Hub) -> None:
        client = enter(hub, None)
        await until(lambda: present(watching) == Presence({}, 1))
        assert hub.identify(client, Access(Identity("ann"), time.monotonic()))
        await until(lambda: present(watching) == Presence({"ann": 1}, 0))

    with_hub(watching, body)


@pytest.mark.parametrize("watching", ["sqlite", "postgresql"], indirect=True)
def test_user_that_the_database_refuses_holds_up_nobody(
    watching: LiveApp, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither delivery nor the presence of the others: an id of before there was a rule."""
    bad = ["\ud800", "\udfff"]

    async def body(hub: Hub) -> None:
        client = enter(hub, "ann")
        with tracker_stopped(hub):
            for n in range(40):
                hub._presence_tracker.enter(["post:1"], f"user {n}")
                if n % 20 == 7:
                    hub._presence_tracker.enter(["post:1"], bad[n // 20])
        await until(lambda: present(watching).count == 41)
        hub._presence_tracker.leave(["post:1"], bad[0])
        for n in range(3):
            watching.publish("post:1", data=n)
            hub._presence_tracker.enter(["post:1"], f"user {n}")
            await until(lambda n=n: len(client.events()) == n + 1)
            await until(lambda n=n: present(watching).users[f"user {n}"] == 2)

    with_hub(watching, body)
    assert "cannot be written" in caplog.text
    assert "the log of live events cannot be read" not in caplog.text
    assert present(watching).count == 0


@contextlib.contextmanager
def tracker_stopped(hub: Hub) -> Iterator[None]:
    """Have what is entered written together."""
    tracker = hub._presence_tracker
    tracker._write_at = float("inf")
    yield
    tracker._write_at = 0.0


@pytest.mark.parametrize("broken", ["see", "presence", "append"])
def test_presence_that_fails_altogether_does_not_stop_delivery(
    watching: LiveApp,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def body(hub: Hub) -> None:
        client = enter(hub, "ann")
        await until(lambda: present(watching).count == 1)

        def fail(*args: object) -> None:
            raise ValueError("a defect")

        (follower,) = {type(f) for f in followers if isinstance(f, Follower)}
        with monkeypatch.context() as context:
            context.setattr(follower, broken, fail)
            enter(hub, "bob")
            for n in range(3):
                watching.publish("post:1", data=n)
                await until(lambda n=n: len(client.events()) == n + 1)
            await until(lambda: "presence" in caplog.text)
        await until(lambda: present(watching).count == 2)

    followers = _followers(monkeypatch)
    with_hub(watching, body)
    assert "a defect" in caplog.text
    assert "the log of live events cannot be read" not in caplog.text


def _followers(monkeypatch: pytest.MonkeyPatch) -> list[Follower]:
    """Return the followers that are made from now on, as they are made."""
    made: list[Follower] = []
    follow = Reader._follow

    def noting(self: Reader, follower: Follower) -> None:
        made.append(follower)
        follow(self, follower)

    monkeypatch.setattr(Reader, "_follow", noting)
    return made


def test_rows_that_hold_nonsense_stop_neither_presence_nor_delivery(
    make_live_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    live_app = make_live_app(**PRESENCE)

    async def body(hub: Hub) -> None:
        client = enter(hub, "ann")
        hub.tell_presence(client, ["post:1"])
        await until(lambda: present(live_app).count == 1)
        with live_app.engine().begin() as connection:
            insert = "INSERT INTO live_presence VALUES ('post:1', :worker, :user, :connections)"
            worker = hub._presence_tracker.worker
            for user, connections in ((b"\xff", "many"), ("eve", b"\x00"), ("", "")):
                values = {"worker": worker, "user": user, "connections": connections}
                connection.execute(sa.text(insert), values)
        enter(hub, "bob")
        await until(lambda: "bob" in present(live_app).users)
        live_app.publish("post:1")
        await until(client.events)

    with_hub(live_app, body)
    assert "the log of live events cannot be read" not in caplog.text


def test_worker_that_ends_takes_its_people_out(watching: LiveApp) -> None:
    async def body(hub: Hub) -> None:
        enter(hub, "ann")
        await until(lambda: present(watching).count == 1)

    with_hub(watching, body)
    assert present(watching).count == 0


@contextlib.contextmanager
def crashed_worker(live_app: LiveApp, last_seen_s: float) -> Iterator[None]:
    """Leave the rows of a worker that was last seen so long ago."""
    with live_app.engine().begin() as connection:
        presence.see(connection, "crashed", {("post:1", "eve"): 3})
        seen_at = presence.live_worker.c.seen_at
        connection.execute(sa.update(presence.live_worker).values(seen_at=seen_at - last_seen_s))
    yield


@pytest.mark.parametrize("watching", ["sqlite", "postgresql"], indirect=True)
def test_people_of_a_crashed_worker_go_and_who_watches_is_told(watching: LiveApp) -> None:
    async def body(hub: Hub) -> None:
        asker = enter(hub, "ann")
        hub.tell_presence(asker, ["post:1"])
        await until(lambda: counts(asker)[-1:] == [1])
        with crashed_worker(watching, last_seen_s=0):
            await until(lambda: present(watching).count == 2)
            with watching.engine().begin() as connection:
                theirs = presence.live_worker.c.id == "crashed"
                connection.execute(
                    sa.update(presence.live_worker).where(theirs).values(seen_at=1.0)
                )
            assert present(watching).count == 1
            counts(asker).clear()
            await until(lambda: _rows(watching) == ["ann"], "the rows to be deleted")
        await until(lambda: counts(asker)[-1:] == [1])

    with_hub(watching, body)


def _rows(live_app: LiveApp) -> list[str]:
    with live_app.engine().connect() as connection:
        return list(connection.scalars(sa.select(presence.live_presence.c.user_id)))


@pytest.mark.parametrize("watching", ["sqlite", "postgresql"], indirect=True)
def test_worker_that_was_taken_for_gone_writes_its_people_again(watching: LiveApp) -> None:
    async def body(hub: Hub) -> None:
        enter(hub, "ann")
        enter(hub, None)
        await until(lambda: present(watching).count == 2)
        with watching.engine().begin() as connection:
            presence.forget(connection, [hub._presence_tracker.worker])
        await until(lambda: present(watching).count == 2, "the rows to be written again")

    with_hub(watching, body)


def test_presence_of_two_workers_is_added_up(make_live_app: MakeApp) -> None:
    first, second = (make_live_app(**PRESENCE) for _ in range(2))

    async def body(hub: Hub) -> None:
        other = hub_of(state_of(second.app))
        try:
            await other.ready()
            enter(hub, "ann")
            enter(other, "ann")
            enter(other, "bob")
            expected = Presence({"ann": 2, "bob": 1}, 0)
            await until(lambda: present(first) == present(second) == expected)
        finally:
            await asyncio.to_thread(lambda: None)
            other.close()
        await until(lambda: present(first) == Presence({"ann": 1}, 0))

    with_hub(first, body)


def test_channel_that_nobody_counts_is_an_error_with_the_mend(live_app: LiveApp) -> None:
    with (
        live_app.app.app_context(),
        pytest.raises(ConfigurationError, match="to LIVE_PRESENCE"),
    ):
        live_app.live.presence("post:1")


def test_patterns_that_are_one_text_are_refused(make_live_app: MakeApp) -> None:
    with pytest.raises(ConfigurationError, match=r"LIVE_PRESENCE must be a list .*, not 'post:"):
        make_live_app(LIVE_PRESENCE="post:*")


def test_presence_over_real_sockets(
    make_live_app: MakeApp, serve: Callable[[LiveApp], Serving]
) -> None:
    live_app = make_live_app(**PRESENCE)
    served = serve(live_app)
    with SseClient(served, "post:1", presence=1) as stream:
        assert stream.read(1)[0].event == "presence"
        with opened(served, additional_headers={"X-User": "ann"}) as client:
            client.follow("post:1", presence=True)
            heard = client.hear_until(lambda m: m.get("event") == "presence")
            assert heard[-1]["channel"] == "post:1"
            wait_for(
                lambda: stream.read(len(stream.parser.messages) + 1)[-1].body["data"]["count"] == 2
            )
            client.say(type="unsubscribe", channels=["post:1"])
            client.hear_until(lambda m: m.get("type") == "unsubscribed")
        wait_for(lambda: present(live_app) == Presence({}, 1))


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgresql"])
def test_change_of_presence_is_written_without_waiting_for_the_next_look(
    make: Callable[..., LiveApp], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing that takes longer than the interval of presence itself.
    monkeypatch.setattr("flasknado.live.log.memory.LOOKING_INTERVAL_S", 3600.0)
    monkeypatch.setattr("flasknado.live.log.followers.LISTENING_POLL_S", 3600.0)
    monkeypatch.setattr("flasknado.live.log.presence_tracker.BEAT_INTERVAL_S", 3600.0)
    live_app = make(kind, LIVE_PRESENCE=["a"], LIVE_PRESENCE_GRACE_S=0.01, LIVE_POLL_S=3600)

    def there() -> int:
        with live_app.app.app_context():
            return live_app.live.presence("a").count

    async def body(hub: Hub) -> None:
        first = await joined_client(hub, "a")
        await until(lambda: there() == 1)
        await joined_client(hub, "a")
        await until(lambda: there() == 2)
        hub.remove(first)
        await until(lambda: there() == 1)

    with_hub(live_app, body)
