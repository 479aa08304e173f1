"""The live flow: rounds in slices, what waits together is one write, and who gets what."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence

import pytest

from flasknado.live.event import Cursor, Event
from flasknado.live.formats import NDJSON, GoAway
from flasknado.live.hub import fanout as fanout_module
from flasknado.live.hub.fanout import Fanout
from flasknado.live.hub.subscriber import Subscriber
from flasknado.live.log.tables import Batch
from tests.flasknado.live.hub_client import until

EPOCH = "e"


class Client(Subscriber):
    """A client that keeps the bytes it is sent, and does `then` when it is."""

    def __init__(self, *channels: str) -> None:
        super().__init__(NDJSON)
        self.channels = channels
        self.writes: list[bytes] = []
        self.then: Callable[[], object] = lambda: None
        self.aborted = False

    def send(self, data: bytes, cursor: Cursor) -> None:
        assert cursor.epoch == EPOCH
        self.writes.append(data)
        self.then()

    def offsets(self) -> list[int]:
        lines = b"".join(self.writes).splitlines()
        return [int(line.partition(b'","')[0].rpartition(b":")[2]) for line in lines]

    def beat(self, data: bytes | None) -> None:
        raise AssertionError(data)

    def go_away(self, notice: GoAway) -> None:
        raise AssertionError(notice)

    def kick(self) -> None:
        raise AssertionError

    def abort(self) -> None:
        self.aborted = True


class Flow(Fanout):
    """A flow that makes its own batches and counts what was taken."""

    def __init__(self) -> None:
        self.taken = 0
        super().__init__(asyncio.get_running_loop(), self._note_taken)
        self.cursor = Cursor(EPOCH, 0)
        self._offsets = itertools.count(1)
        self.head = 0

    def _note_taken(self) -> None:
        self.taken += 1

    def clients(self, count: int, *channels: str) -> list[Client]:
        clients = [Client(*channels) for _ in range(count)]
        for client in clients:
            self.join(client, self.head)
        return clients

    def publish(self, *channels: str, data: str = "0") -> None:
        events = [Event(next(self._offsets), channel, "tick", data) for channel in channels]
        self.head = events[-1].offset
        self.deliver(Batch(EPOCH, self.head, 1, events, self.head))


def play(body: Callable[[Flow], Awaitable[None]]) -> None:
    async def main() -> None:
        await body(Flow())

    asyncio.run(main())


@pytest.fixture
def slices_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout_module, "SLICE_CLIENTS", 2)


def served(clients: Sequence[Client]) -> list[Client]:
    return [client for client in clients if client.writes]


def test_round_for_few_clients_is_written_at_once() -> None:
    async def body(flow: Flow) -> None:
        clients = flow.clients(10, "a")
        flow.publish("a", "b", "a")
        assert [client.offsets() for client in clients] == [[1, 3]] * 10
        assert flow.cursor == Cursor(EPOCH, 3)
        assert flow.delivered == 20

    play(body)


def test_round_for_many_clients_leaves_turns_to_others(slices_of_two: None) -> None:
    async def body(flow: Flow) -> None:
        clients = flow.clients(5, "a")
        seen: list[int] = []

        def look() -> None:
            seen.append(len(served(clients)))
            if len(seen) < 3:
                asyncio.get_running_loop().call_soon(look)

        asyncio.get_running_loop().call_soon(look)
        flow.publish("a")
        await until(lambda: flow.cursor == Cursor(EPOCH, 1))
        await until(lambda: len(seen) == 3)
        assert seen == [2, 4, 5]

    play(body)


def test_batches_that_come_during_a_round_are_one_write_to_each_client(
    slices_of_two: None,
) -> None:
    async def body(flow: Flow) -> None:
        clients = flow.clients(5, "a")
        for _ in range(20):
            flow.publish("a")
        await until(lambda: flow.cursor == Cursor(EPOCH, 20))
        assert [client.offsets() for client in clients] == [list(range(1, 21))] * 5
        assert [len(client.writes) for client in clients] == [2] * 5
        assert clients[0].writes[1] is clients[4].writes[1]

    play(body)


def test_batch_is_taken_when_its_round_begins_so_what_waits_is_bounded(
    slices_of_two: None,
) -> None:
    async def body(flow: Flow) -> None:
        flow.clients(5, "a")
        for _ in range(3):
            flow.publish("a")
        assert flow.taken == 1
        await until(lambda: flow.cursor == Cursor(EPOCH, 3))
        assert flow.taken == 3

    play(body)


def test_round_is_bounded_in_bytes(slices_of_two: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout_module, "ROUND_BYTES", 300)

    async def body(flow: Flow) -> None:
        client, *_ = flow.clients(3, "a")
        for _ in range(7):
            flow.publish("a", data="1" * 100)
        await until(lambda: flow.cursor == Cursor(EPOCH, 7))
        assert client.offsets() == list(range(1, 8))
        assert [data.count(b"\n") for data in client.writes] == [1, 3, 3]

    play(body)


def test_client_that_leaves_during_a_round_gets_nothing_more(slices_of_two: None) -> None:
    async def body(flow: Flow) -> None:
        clients = flow.clients(6, "a")

        def leave() -> None:
            for client in clients:
                if not client.writes and not client.gone:
                    flow.leave(client, client.channels)
                    client.gone = True

        for client in clients:
            client.then = leave
        flow.publish("a")
        await until(lambda: flow.cursor == Cursor(EPOCH, 1))
        assert len(served(clients)) == 1
        assert flow.delivered == 1

    play(body)


def test_client_that_lets_a_channel_go_during_a_round_gets_the_others(
    slices_of_two: None,
) -> None:
    async def body(flow: Flow) -> None:
        clients = flow.clients(6, "a", "b")
        flow.publish("a", "b")
        late = [client for client in clients if not client.writes]
        for client in late:
            flow.leave(client, ["a"])
            client.channels = ("b",)
        await until(lambda: flow.cursor == Cursor(EPOCH, 2))
        assert len(late) == 4
        assert [client.offsets() for client in late] == [[2]] * 4
        assert [c.offsets() for c in clients if c not in late] == [[1, 2]] * 2

    play(body)


def test_client_that_joins_during_a_round_gets_only_what_it_has_not(slices_of_two: None) -> None:
    async def body(flow: Flow) -> None:
        flow.clients(6, "a")
        flow.publish("a")
        flow.publish("a")
        joining, *_ = flow.clients(1, "a")
        flow.publish("a")
        at_first = Client("a")
        flow.join(at_first, 1)
        await until(lambda: flow.cursor == Cursor(EPOCH, 3))
        assert joining.offsets() == [3]
        assert at_first.offsets() == [2, 3]

    play(body)


def test_place_of_a_client_follows_what_it_was_written(slices_of_two: None) -> None:
    async def body(flow: Flow) -> None:
        clients = flow.clients(6, "a")
        quiet, *_ = flow.clients(1, "b")
        flow.publish("a")
        places = {bool(client.writes): flow.place_of(client) for client in clients}
        assert places == {True: Cursor(EPOCH, 1), False: Cursor(EPOCH, 0)}
        assert flow.place_of(quiet) == Cursor(EPOCH, 0)
        await until(lambda: flow.place_of(quiet) == Cursor(EPOCH, 1))
        assert {flow.place_of(client) for client in clients} == {Cursor(EPOCH, 1)}
        assert flow.place_of(Client("a")) is None

    play(body)


def test_clients_of_several_channels_get_them_in_order(slices_of_two: None) -> None:
    async def body(flow: Flow) -> None:
        orders = list(itertools.permutations("abc"))
        clients = [client for order in orders for client in flow.clients(1, *order, "quiet")]
        flow.publish("c", "a", "b")
        flow.publish("b", "x", "a")
        await until(lambda: flow.cursor == Cursor(EPOCH, 6))
        assert [client.offsets() for client in clients] == [[1, 2, 3, 4, 6]] * 6

    play(body)


def test_more_combinations_of_channels_than_are_shared_get_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fanout_module, "SHARED_FRAMES", 2)

    async def body(flow: Flow) -> None:
        names = ["a", "b", "c", "d"]
        clients = [client for name in names for client in flow.clients(2, name)]
        flow.publish(*names)
        assert sorted(client.offsets() for client in clients) == sorted(
            [[n] for n in range(1, 5)] * 2
        )

    play(body)


def test_client_that_cannot_be_written_to_is_cut_off_and_the_others_go_on(
    slices_of_two: None, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(flow: Flow) -> None:
        broken, *others = flow.clients(6, "a")

        def fail() -> None:
            raise ZeroDivisionError

        broken.then = fail
        flow.publish("a")
        flow.publish("a")
        await until(lambda: flow.cursor == Cursor(EPOCH, 2))
        assert broken.aborted
        assert [client.offsets() for client in others] == [[1, 2]] * 5
        assert not any(client.aborted for client in others)
        assert "writing to a live client" in caplog.text

    play(body)


def test_finish_delivers_everything_now(slices_of_two: None) -> None:
    async def body(flow: Flow) -> None:
        clients = flow.clients(5, "a")
        for _ in range(3):
            flow.publish("a")
        flow.finish()
        assert [client.offsets() for client in clients] == [[1, 2, 3]] * 5
        assert (flow.cursor, flow.taken) == (Cursor(EPOCH, 3), 3)
        # The turn that was to come finds nothing, and the next batch is not written twice.
        flow.publish("a")
        flow.finish()
        await asyncio.sleep(0)
        assert [client.offsets() for client in clients] == [[1, 2, 3, 4]] * 5

    play(body)


def test_close_lets_go_of_what_waits(slices_of_two: None) -> None:
    async def body(flow: Flow) -> None:
        clients = flow.clients(5, "a")
        for _ in range(3):
            flow.publish("a")
        flow.close()
        assert flow.taken == 3
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(served(clients)) == 2
        assert flow.cursor == Cursor(EPOCH, 0)

    play(body)
