"""Clients that follow patterns: each channel is asked for once, and nothing is lost meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flasknado.live.event import Cursor, parse_cursor
from flasknado.live.hub import subscriptions
from flasknado.live.hub.grants import Grants, Undecided
from flasknado.live.hub.hub import Hub
from flasknado.live.log import reader
from flasknado.live.tickets import NOBODY, Access, Identity
from tests.flasknado.live.helpers import LiveApp
from tests.flasknado.live.hub_client import Client, joined, until, with_hub

CHANNELS = ["post:1", "post:2", "post:secret", "posts", "user:1"]


class Follower(Client):
    """A client of `post:*` that may read all but `post:secret`, as is answered after some turns."""

    def __init__(self, hub: Hub, identity: Identity = NOBODY, turns: int = 1) -> None:
        super().__init__(hub, identity)
        self.turns = turns
        self.asked: list[str] = []
        self.grants = Grants(self.answer, 1000)

    async def answer(self, channels: Collection[str]) -> tuple[frozenset[str], Access]:
        self.asked += channels
        asked_at = time.monotonic()
        for _ in range(self.turns):
            await asyncio.sleep(0.0005)
        granted = frozenset(channel for channel in channels if "secret" not in channel)
        return granted, Access(self.identity, asked_at, granted)

    def begin(self, after: Cursor | None = None, *channels: str) -> Follower:
        self.hub.admit(self)
        self.hub.subscribe(self, ["post:*", *channels], after)
        return self


steps = st.one_of(
    st.tuples(st.just("publish"), st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=4)),
    st.tuples(st.just("signal"), st.sampled_from(CHANNELS)),
    st.tuples(st.just("reconnect"), st.integers(0, 6)),
    st.tuples(st.just("stall"), st.none()),
    st.tuples(st.just("read"), st.none()),
    st.tuples(st.just("turn"), st.integers(1, 6)),
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(steps, max_size=25), st.integers(0, 6))
def test_client_of_a_pattern_gets_each_event_that_it_may_read_once_and_in_order(
    live_app: LiveApp, script: list[tuple[str, Any]], turns: int
) -> None:
    published: list[tuple[str, int]] = []
    begun_at = parse_cursor(live_app.cursor())
    received: list[tuple[str, int]] = []

    def kept(client: Client) -> list[tuple[str, int]]:
        names = [m["event"] for m in client.received if m["channel"] is not None]
        return [e for e, name in zip(client.events(), names, strict=True) if name == "note"]

    async def play(hub: Hub) -> None:
        client = Follower(hub, turns=turns).begin(begun_at, "posts")
        for step, argument in script:
            if step == "publish":
                with live_app.live.capture() as captured:
                    live_app.publish(*argument)
                # Signals that another thread writes meanwhile are captured, too.
                published.extend((e.channel, e.offset) for e in captured if e.name == "note")
            elif step == "signal":
                live_app.signal(argument)
            elif step == "reconnect":
                hub.remove(client)
                received.extend(kept(client))
                at = parse_cursor(client.received[-1]["id"]) if client.received else begun_at
                if not client.received and received:
                    at = Cursor(begun_at.epoch, received[-1][1])
                client = Follower(hub, turns=argument).begin(at, "posts")
            elif step == "stall":
                client.stalled = True
            elif step == "read":
                client.read_again()
            else:
                for _ in range(argument):
                    await asyncio.sleep(0.0005)
        client.read_again()
        head = parse_cursor(live_app.cursor())
        await until(lambda: (hub.place_of(client) or begun_at) >= head, "the client to have it all")
        received.extend(kept(client))

    with_hub(live_app, play)
    assert received == [e for e in published if e[0] in ("post:1", "post:2", "posts")]


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgresql"])
def test_pattern_is_replayed_on_every_log_and_each_channel_asked_for_once(
    make: Callable[..., LiveApp], kind: str
) -> None:
    live_app = make(kind, LIVE_PRESENCE=["post:*"])
    begun_at = parse_cursor(live_app.cursor())
    live_app.publish("post:1", "POST:1", "post:secret", "posts", "post:2", "post:1")
    live_app.signal("post:1")
    live_app.settle()

    async def body(hub: Hub) -> None:
        client = Follower(hub).begin(begun_at)
        asker = Client(hub)
        hub.admit(asker)
        hub.subscribe(asker, ["post:1"], None)
        hub.tell_presence(asker, ["post:1"])  # what is told is not on the pattern's channels
        await joined(hub, client)
        await until(lambda: any(m["event"] == "presence" for m in asker.received))
        live_app.publish("post:2", "post:3")
        live_app.signal("post:3")
        await until(lambda: "post:3" in {channel for channel, _ in client.events()})
        live_app.publish("post:1", "post:secret", "post:2")
        await until(lambda: client.events()[-1][0] == "post:2")
        expected = ["post:1", "post:2", "post:1", "post:2", "post:3", "post:1", "post:2"]
        channels = [m["channel"] for m in client.received if m["event"] == "note"]
        assert channels == expected
        assert sorted(client.asked) == ["post:1", "post:2", "post:3", "post:secret"]
        assert not any(m["event"] == "presence" for m in client.received)

    with_hub(live_app, body)


def test_revocation_of_a_channel_ends_who_gets_it_by_a_pattern(live_app: LiveApp) -> None:
    async def body(hub: Hub) -> None:
        ann, other = Identity("ann"), Identity("ann")
        first, second = Follower(hub, ann).begin(), Follower(hub, other).begin()
        await joined(hub, first)
        await joined(hub, second)
        live_app.publish("post:1")
        await until(lambda: first.events() and second.events())
        with live_app.app.app_context():
            live_app.live.revoke("ann", channel="post:2")
            live_app.live.revoke("bob", channel="post:1")
            live_app.live.publish("post:1", "note")
            live_app.db.session.commit()
        await until(lambda: len(first.events()) == 2)
        assert not first.gone
        with live_app.app.app_context():
            live_app.live.revoke("ann", channel="post:1")
            live_app.db.session.commit()
        await until(lambda: first.expelled and second.expelled)

    with_hub(live_app, body)


@pytest.mark.parametrize("answer", ["fails", "is of somebody else"])
def test_client_of_which_nothing_is_known_comes_back(live_app: LiveApp, answer: str) -> None:
    async def body(hub: Hub) -> None:
        client = Follower(hub, Identity("ann")).begin()

        async def other(channels: Collection[str]) -> tuple[frozenset[str], Access]:
            if answer == "fails":
                raise ValueError("the application failed")
            return frozenset(channels), Access(Identity("bob"), time.monotonic())

        client.grants.ask = other
        await joined(hub, client)
        live_app.publish("post:1")
        await until(lambda: client.gone)
        assert hub.stats()["gone"] == {"undecided" if answer == "fails" else "changed": 1}
        assert client.aborted or client.expelled
        assert client.events() == []

    with_hub(live_app, body)


def test_clients_wait_for_their_turn_to_be_asked_about(
    live_app: LiveApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "ASKED_AT_ONCE", 3)
    under_way = most = 0

    async def body(hub: Hub) -> None:
        nonlocal most

        async def counting(channels: Collection[str]) -> tuple[frozenset[str], Access]:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.002)
            under_way -= 1
            return frozenset(channels), Access(NOBODY, time.monotonic())

        clients = [Follower(hub).begin() for _ in range(20)]
        for client in clients:
            client.grants.ask = counting
            await joined(hub, client)
        live_app.publish("post:1")
        await until(lambda: all(client.events() for client in clients))
        hub.remove(clients[0])

    with_hub(live_app, body)
    assert most == 3


def test_answers_beyond_the_limit_are_forgotten_the_oldest_first() -> None:
    async def ask(channels: Collection[str]) -> tuple[frozenset[str], Access]:
        raise AssertionError

    grants = Grants(ask, 2)
    grants.decide(["post:1", "post:2", "post:3"], ["post:2", "post:3"])
    assert grants.among(["post:*"], ["post:2", "post:3", "other", "post:1!presence"]) == (
        "post:2",
        "post:3",
    )
    with pytest.raises(Undecided) as undecided:
        grants.among(["post:*"], ["post:1", "post:3"])
    assert undecided.value.channels == ["post:1"]


def test_batches_of_a_pattern_may_be_small(
    live_app: LiveApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "CATCH_UP_BATCH_EVENTS", 2)
    begun_at = parse_cursor(live_app.cursor())
    live_app.publish(*(f"post:{n}" for n in range(9)))

    async def body(hub: Hub) -> None:
        client = Follower(hub).begin(begun_at)
        await joined(hub, client)
        assert [channel for channel, _ in client.events()] == [f"post:{n}" for n in range(9)]

    with_hub(live_app, body)
