"""The hub: arbitrary interleavings of publishing, subscribing, stalling, leaving and resuming.

The real hub, reader and SQLite file; only the clients are simple objects, which can be
told to stop reading. Every client must have every event of its channels exactly once, in
order, from where it began.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flasknado.live.errors import LogUnavailable, TooManySubscribers
from flasknado.live.event import Cursor, Event, parse_cursor
from flasknado.live.formats import NDJSON, Format, Ndjson
from flasknado.live.hub import fanout as fanout_module
from flasknado.live.hub.hub import Hub, hub_of
from flasknado.live.log import reader as live_log
from flasknado.live.state import state_of
from tests.flasknado.live.helpers import LiveApp
from tests.flasknado.live.hub_client import Client, joined, joined_client, until, with_hub

CHANNELS = ("a", "b", "c")


class Reader:
    """A person at a browser: clients come and go, what was received stays."""

    def __init__(self, channels: frozenset[str]) -> None:
        self.channels = channels
        self.client: Client | None = None
        self.begun_at: int | None = None
        self.events: list[tuple[str, int]] = []
        self.cursor: Cursor | None = None

    def collect(self) -> None:
        """Take over what the client has received; note the last cursor."""
        assert self.client is not None
        assert self.client.control("reset") == []
        for message in self.client.received:
            self.cursor = parse_cursor(message["id"])
            if message["channel"] is not None:
                self.events.append((message["channel"], self.cursor.offset))
            if self.begun_at is None:
                # An event that comes before the first heartbeat begins the story as well.
                self.begun_at = self.cursor.offset - (message["channel"] is not None)
        self.client.received.clear()


people = st.integers(0, 2)
steps = st.one_of(
    st.tuples(st.just("publish"), st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=7)),
    st.tuples(st.just("connect"), people),
    st.tuples(st.just("disconnect"), people),
    st.tuples(st.just("stall"), people),
    st.tuples(st.just("read"), people),
    st.tuples(st.just("turn"), st.integers(1, 4)),
    st.tuples(st.just("settle"), st.none()),
)
channel_sets = st.frozensets(st.sampled_from(CHANNELS), min_size=1)


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    yield
    assert [t for t in threading.enumerate() if t.name == "flasknado-live-log"] == []


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_log, "CATCH_UP_BATCH_EVENTS", 3)
    monkeypatch.setattr(live_log, "LIVE_BATCH_EVENTS", 2)
    monkeypatch.setattr(fanout_module, "SLICE_CLIENTS", 1)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(steps, max_size=40), st.tuples(channel_sets, channel_sets, channel_sets))
def test_hub_any_interleaving_every_client_gets_each_event_once_in_order(
    live_app: LiveApp,
    small_batches: None,
    script: list[tuple[str, Any]],
    followed: tuple[frozenset[str], ...],
) -> None:
    published: list[tuple[str, int]] = []
    readers = [Reader(channels) for channels in followed]

    def connect(hub: Hub, reader: Reader) -> None:
        if reader.client is None:
            reader.client = Client(hub)
            hub.admit(reader.client)
            hub.subscribe(reader.client, sorted(reader.channels), reader.cursor)

    def disconnect(hub: Hub, reader: Reader) -> None:
        if reader.client is not None:
            hub.remove(reader.client)
            reader.collect()
            reader.client = None

    def publish(channels: list[str]) -> None:
        with live_app.live.capture() as captured:
            live_app.publish(*channels)
        published.extend((event.channel, event.offset) for event in captured)

    async def play(hub: Hub) -> None:
        for step, argument in script:
            if step == "publish":
                publish(argument)
            elif step == "connect":
                connect(hub, readers[argument])
            elif step == "disconnect":
                disconnect(hub, readers[argument])
            elif step == "stall" and readers[argument].client is not None:
                readers[argument].client.stalled = True
            elif step == "read" and readers[argument].client is not None:
                readers[argument].client.read_again()
            elif step == "turn":
                for _ in range(argument):
                    await asyncio.sleep(0.0005)
            elif step == "settle":
                settled = parse_cursor(live_app.cursor())
                await until(lambda at=settled: hub.cursor == at, "the hub to reach the head")
        for reader in readers:
            connect(hub, reader)
            assert reader.client is not None
            reader.client.read_again()
        head = parse_cursor(live_app.cursor())
        for reader in readers:
            assert reader.client is not None
            await until(lambda c=reader.client: hub.place_of(c) == head, "a client to have it all")
            reader.collect()

    with_hub(live_app, play)
    for reader in readers:
        assert reader.begun_at is not None
        expected = [e for e in published if e[0] in reader.channels and e[1] > reader.begun_at]
        assert reader.events == expected


changes = st.one_of(
    st.tuples(st.just("publish"), st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=5)),
    st.tuples(st.just("follow"), st.sampled_from(CHANNELS)),
    st.tuples(st.just("replay"), st.sampled_from(CHANNELS)),
    st.tuples(st.just("unfollow"), st.sampled_from(CHANNELS)),
    st.tuples(st.just("stall"), st.none()),
    st.tuples(st.just("read"), st.none()),
    st.tuples(st.just("turn"), st.integers(1, 4)),
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(changes, max_size=30))
def test_hub_client_that_changes_its_channels_misses_nothing_of_any(
    live_app: LiveApp, small_batches: None, script: list[tuple[str, Any]]
) -> None:
    origin = parse_cursor(live_app.cursor())
    published: list[tuple[str, int]] = []
    # For each channel: from where it is followed, how much had been received then, and
    # whether it was asked for by a cursor.
    follows: dict[str, tuple[int, int, bool]] = {}

    async def play(hub: Hub) -> None:
        client = Client(hub)
        hub.admit(client)
        for step, argument in script:
            head = parse_cursor(live_app.cursor()).offset
            if step == "publish":
                with live_app.live.capture() as captured:
                    live_app.publish(*argument)
                published.extend((event.channel, event.offset) for event in captured)
            elif step == "follow":
                hub.subscribe(client, [argument], None)
                follows.setdefault(argument, (head, len(client.received), False))
            elif step == "replay":
                hub.subscribe(client, [argument], origin)
                follows[argument] = (origin.offset, len(client.received), True)
            elif step == "unfollow":
                hub.unsubscribe(client, [argument])
                follows.pop(argument, None)
            elif step == "stall":
                client.stalled = True
            elif step == "read":
                client.read_again()
            elif step == "turn":
                for _ in range(argument):
                    await asyncio.sleep(0.0005)
        client.read_again()
        end = parse_cursor(live_app.cursor())
        if follows:
            await until(lambda: hub.place_of(client) == end, "the client to have it all")
        assert set(client.channels) == set(follows)
        assert client.control("reset") == []
        for channel, (begun_at, seen, by_cursor) in follows.items():
            received = [
                parse_cursor(message["id"]).offset
                for message in client.received[seen:]
                if message["channel"] == channel
            ]
            every = [offset for name, offset in published if name == channel]
            # "From now" is some moment from the call to the first read for it.
            assert received == every[len(every) - len(received) :]
            assert all(offset > begun_at for offset in received)
            first = received[0] if received else end.offset + 1
            skipped = [offset for offset in every if begun_at < offset < first]
            assert not (by_cursor and skipped)
            # Whoever has been told a place has everything after it.
            told = [
                parse_cursor(m["id"]).offset
                for m in client.received[seen:]
                if m["event"] == "heartbeat"
            ]
            assert not told or not any(offset > told[0] for offset in skipped)

    with_hub(live_app, play)


def test_event_is_encoded_once_for_all_clients_of_a_format(live_app: LiveApp) -> None:
    encoded: list[int] = []

    class Counting(Ndjson):
        def event(self, epoch: str, event: Event) -> bytes:
            encoded.append(event.offset)
            return super().event(epoch, event)

    counting: Format = Counting()

    async def body(hub: Hub) -> None:
        clients = [await joined_client(hub, "a") for _ in range(20)]
        for client in clients:
            client.format = counting
        live_app.publish("a", "a", "b")
        await until(lambda: all(len(client.events()) == 2 for client in clients))
        assert encoded == [1, 2]

    with_hub(live_app, body)


def test_events_that_wait_together_are_one_write(live_app: LiveApp) -> None:
    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "a", "b")
        before = client.writes
        live_app.publish(*"abcabc")
        await until(lambda: len(client.events()) == 4)
        assert client.writes == before + 1

    with_hub(live_app, body)


@pytest.mark.parametrize("case", ["older", "ahead", "another log"])
def test_cursor_that_cannot_be_resumed_gets_a_reset_and_then_the_live_flow(
    live_app: LiveApp, case: str
) -> None:
    live_app.publish(*["a"] * 5)
    head = parse_cursor(live_app.cursor())
    after = {
        "older": Cursor(head.epoch, 1),
        "ahead": Cursor(head.epoch, 6),
        "another log": Cursor("other", 3),
    }[case]
    if case == "older":
        with live_app.engine().begin() as connection:
            connection.exec_driver_sql('DELETE FROM live_event WHERE "offset" <= 2')
            connection.exec_driver_sql("UPDATE live_log SET floor = 2")

    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "a", after=after)
        assert client.control("reset") == [str(head)]
        assert client.events() == []
        live_app.publish("a")
        await until(lambda: client.events() == [("a", 6)])

    with_hub(live_app, body)


def test_cursor_right_before_the_oldest_event_is_resumed(live_app: LiveApp) -> None:
    live_app.publish(*["a"] * 5)
    with live_app.engine().begin() as connection:
        connection.exec_driver_sql('DELETE FROM live_event WHERE "offset" <= 2')
        connection.exec_driver_sql("UPDATE live_log SET floor = 2")

    async def body(hub: Hub) -> None:
        after = Cursor(parse_cursor(live_app.cursor()).epoch, 2)
        client = await joined_client(hub, "a", after=after)
        assert [offset for _, offset in client.events()] == [3, 4, 5]
        assert client.control("reset") == []

    with_hub(live_app, body)


def test_log_replaced_under_joined_clients_resets_them_once(live_app: LiveApp) -> None:
    live_app.publish("a", "a")

    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "a", "b")
        with live_app.engine().begin() as connection:
            connection.exec_driver_sql("DELETE FROM live_event")
            connection.exec_driver_sql("UPDATE live_log SET epoch = 'new', head = 1")
        await until(lambda: client.control("reset"), "the reset")
        live_app.publish("a")
        await until(lambda: client.events() == [("a", 2)])
        assert client.control("reset") == ["new:1"]

    with_hub(live_app, body)


def test_cursors_of_two_logs_in_one_client_reset_it(live_app: LiveApp) -> None:
    live_app.publish("a")

    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "a")
        hub.subscribe(client, ["b"], Cursor("other", 0))
        await joined(hub, client)
        assert client.control("reset") == [live_app.cursor()]
        live_app.publish("a", "b")
        await until(lambda: client.events() == [("a", 2), ("b", 3)])

    with_hub(live_app, body)


def test_heartbeat_carries_the_head_to_a_quiet_channel(
    make_live_app: Callable[..., LiveApp],
) -> None:
    live_app = make_live_app(LIVE_HEARTBEAT_S=0.05)

    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "quiet")
        live_app.publish("a", "a", "a")
        head = parse_cursor(live_app.cursor())
        await until(lambda: NDJSON.heartbeat(head) in client.beats, "the heartbeat")
        stranger = Client(hub)
        hub.admit(stranger)
        await until(lambda: stranger.beats)
        assert set(stranger.beats) == {None}

    with_hub(live_app, body)


def test_admit_over_the_limit_is_refused_until_somebody_leaves(
    make_live_app: Callable[..., LiveApp],
) -> None:
    live_app = make_live_app(LIVE_MAX_SUBSCRIBERS=2)

    async def body(hub: Hub) -> None:
        clients = [await joined_client(hub, "a") for _ in range(2)]
        with pytest.raises(TooManySubscribers, match="LIVE_MAX_SUBSCRIBERS"):
            hub.admit(Client(hub))
        hub.remove(clients[0])
        hub.admit(Client(hub))

    with_hub(live_app, body)


def test_remove_leaves_nothing_behind(live_app: LiveApp) -> None:
    async def body(hub: Hub) -> None:
        clients = [await joined_client(hub, "a", "b") for _ in range(5)]
        waiting = Client(hub)
        hub.admit(waiting)
        hub.subscribe(waiting, ["a"], None)
        for client in (*clients, waiting, *clients):
            hub.remove(client)
        assert (hub._subscribers, hub._fanout.channels) == (set(), 0)
        assert not any(hub._heartbeats._slots)
        live_app.publish("a")
        head = parse_cursor(live_app.cursor())
        await until(lambda: hub.cursor == head)
        assert waiting.received == []

    with_hub(live_app, body)


def test_drain_dismisses_everybody_within_the_window_and_admits_nobody(
    live_app: LiveApp,
) -> None:
    async def body(hub: Hub) -> None:
        clients = [await joined_client(hub, "a") for _ in range(50)]
        began_at = hub.loop.time()
        draining = asyncio.ensure_future(hub.drain(10.0))
        await until(lambda: any(client.dismissed for client in clients))
        assert not all(client.dismissed for client in clients)
        await draining
        assert all(client.dismissed and client.gone for client in clients)
        assert hub.loop.time() - began_at < 2
        with pytest.raises(LogUnavailable, match="restarting"):
            await hub.ready()

    with_hub(live_app, body)


def test_drain_without_a_window_dismisses_everybody_at_once(live_app: LiveApp) -> None:
    async def body(hub: Hub) -> None:
        clients = [await joined_client(hub, "a") for _ in range(50)]
        await hub.drain(0.0)
        assert all(client.dismissed for client in clients)

    with_hub(live_app, body)


def test_close_disconnects_everybody_and_ends_the_reader(live_app: LiveApp) -> None:
    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "a")
        hub.close()
        assert client.aborted
        assert not hub._reader._thread.is_alive()

    with_hub(live_app, body)


def test_hub_is_one_for_an_application_and_loop_until_it_closes(live_app: LiveApp) -> None:
    hubs: list[Hub] = []

    async def body(hub: Hub) -> None:
        assert hub_of(state_of(live_app.app)) is hub
        hubs.append(hub)

    with_hub(live_app, body)
    with_hub(live_app, body)
    assert hubs[0] is not hubs[1]
    assert state_of(live_app.app).hubs == {}


def test_stats_tell_who_is_there(live_app: LiveApp) -> None:
    async def body(hub: Hub) -> None:
        await joined_client(hub, "a", "b")
        live_app.publish("a", "b")
        await until(lambda: hub.stats()["delivered_total"] == 2)
        assert hub.stats() == {
            "subscribers": 1,
            "guests": 0,
            "transports": {"other": 1},
            "gone": {},
            "channels": 2,
            "catching_up": 0,
            "cursor": live_app.cursor(),
            "log_readable": True,
            "log_unreadable_s": 0.0,
            "delivered_total": 2,
            "dropped_slow_total": 0,
        }

    with_hub(live_app, body)


def test_unsubscribe_of_everything_leaves_a_client_that_can_follow_again(
    live_app: LiveApp,
) -> None:
    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "a")
        hub.unsubscribe(client, ["a", "never"])
        assert hub.place_of(client) is None
        live_app.publish("a")
        hub.subscribe(client, ["a"], None)
        await joined(hub, client)
        live_app.publish("a")
        await until(lambda: client.events() == [("a", 2)])

    with_hub(live_app, body)
