"""What goes for its age or number, how much at once, and without deleting row by row."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flasknado.live.event import REVOCATIONS
from flasknado.live.log import outbox, retention, tables
from flasknado.live.log.base import Busy, Follower
from flasknado.live.log.retention import AgeAllowance
from flasknado.live.log.tables import Draft
from flasknado.live.log.wakeup import Wakeup
from flasknado.live.options import LiveOptions
from tests.flasknado.live.helpers import LiveApp
from tests.support.postgres import PostgresServer

MakeApp = Callable[..., LiveApp]
DAY_S = 24 * 3600.0


class Log:
    """A log and a follower of it with these options."""

    def __init__(self, live_app: LiveApp, follower: Follower) -> None:
        self.live_app = live_app
        self.follower = follower

    def append(self, *drafts: Draft) -> None:
        with self.live_app.engine().begin() as connection:
            outbox.write(connection, drafts)
        self.live_app.settle()

    def append_kept(self, count: int, channel: str = "a") -> None:
        self.append(*[Draft(channel, "n", "1")] * count)

    def make_older(self, by_s: float) -> None:
        """Have the clock go on, as far as what is there is concerned."""
        with self.live_app.engine().begin() as connection:
            for table in tables.KEPT_TABLES["postgresql"] + tables.BUFFERED_TABLES["postgresql"]:
                connection.execute(sa.update(table).values(created_at=table.c.created_at - by_s))

    def prune(self, *, everything: bool = False) -> int:
        total = 0
        while True:
            pruned = self.follower.prune(500, everything=everything)
            total += pruned
            if pruned < 500:
                return total

    def sweep(self, batch_events: int = 500) -> int:
        total, more = 0, True
        while more:
            events, more = self.follower.sweep(batch_events)
            total += events
        return total

    def rows(self, table: sa.Table) -> int:
        with self.live_app.engine().connect() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()

    def offsets(self, after: int, *channels: str) -> list[int] | None:
        """Return what can be resumed from there; `None` if that is told to be lost."""
        batch = self.follower.read(after, channels or None, limit_events=10**6, limit_bytes=10**9)
        cursor = tables.Cursor(batch.epoch, after)
        return [event.offset for event in batch.events] if batch.resumable(cursor) else None


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def log(
    make_live_app: MakeApp, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Log]]:
    """Return a function that makes a log of the kind, with options."""
    wakeup = Wakeup()
    opened = []

    def make(**options: Any) -> Log:
        url = f"sqlite:///{tmp_path}/log.db"
        if kind == "postgresql":
            server: PostgresServer = request.getfixturevalue("postgres")
            url = server.url()
        live_app = make_live_app(log_url=url)
        context = live_app.log.following(wakeup, LiveOptions(**options))
        opened.append(context)
        return Log(live_app, context.__enter__())

    yield make
    for context in opened:
        context.__exit__(None, None, None)
    wakeup.close()


def test_number_that_is_kept_is_exact(log: Callable[..., Log]) -> None:
    its = log(retention_events=7)
    its.append_kept(20)
    assert its.prune() == 13
    assert its.offsets(13) == [14, 15, 16, 17, 18, 19, 20]
    assert its.offsets(12) is None
    assert its.prune() == 0


def test_signals_and_buffered_events_do_not_evict_kept_ones(log: Callable[..., Log]) -> None:
    its = log(retention_events=5, buffered_retention_events=10)
    its.append_kept(5)
    for _ in range(3):
        its.append(*[Draft("a", "typing", "1", kept=False)] * 50)
        its.append(*[Draft("a", "token", "1", buffered=True)] * 50)
        its.prune()
    assert its.offsets(0, "nothing else") == []
    kept = its.follower.read(0, None, limit_events=10**6, limit_bytes=10**9).events
    assert [event.offset for event in kept if event.name == "n"] == [1, 2, 3, 4, 5]


def test_buffered_events_that_have_gone_are_told_to_their_channel_alone(
    log: Callable[..., Log],
) -> None:
    its = log(buffered_retention_s=60)
    its.append(*[Draft("stream", "token", "1", buffered=True)] * 3)
    its.append_kept(2)
    its.make_older(50)
    assert its.prune() == 0
    assert its.offsets(0, "stream") == [1, 2, 3]
    its.make_older(50)
    its.prune()
    assert its.offsets(0, "stream") is None
    assert its.offsets(2, "stream") is None
    assert its.offsets(3, "stream") == []
    assert its.offsets(0, "a") == [4, 5]
    assert its.rows(tables.live_buffered) == its.rows(tables.live_buffered_1) == 0


def test_clock_that_steps_forward_does_not_empty_the_log(log: Callable[..., Log]) -> None:
    its = log(retention_s=DAY_S)
    its.append_kept(1000)
    its.make_older(365 * DAY_S)
    for _ in range(5):
        # As many rounds as there may be in the seconds that this takes.
        its.prune()
    assert len(its.offsets(1000 - 900) or []) == 900
    # Who asks for it gets it.
    its.prune(everything=True)
    assert its.offsets(999) is None
    assert its.offsets(1000) == []


def test_log_that_is_filled_evenly_is_emptied_as_fast(log: Callable[..., Log]) -> None:
    its = log(retention_s=0.5, prune_interval_s=0.1)
    for _ in range(10):
        its.append_kept(10)
        its.prune()
        time.sleep(0.1)
    held = 100 - tables_floor(its)
    assert held < 100
    time.sleep(0.6)
    its.prune()
    assert its.offsets(99) is None


def tables_floor(its: Log) -> int:
    return its.follower.bounds().oldest - 1


def test_allowance_grows_with_the_time_and_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(retention.time, "monotonic", lambda: now[0])
    allowance = AgeAllowance(retention_s=1000)
    assert allowance.of(1000) == 0
    now[0] += 10
    assert allowance.of(1000) == 100
    allowance.spend(60, 1000)
    assert allowance.of(1000) in (40, 41)
    now[0] += 10**6
    assert allowance.of(1000) == 1000


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_tables_are_filled_in_turns_and_emptied_as_a_whole(log: Callable[..., Log]) -> None:
    its = log(retention_events=10)
    first, second = tables.KEPT_TABLES["postgresql"]
    its.append_kept(5)
    its.append_kept(5)
    its.append_kept(5)
    assert (its.rows(first), its.rows(second)) == (5, 10)
    its.prune()
    # Nothing has been deleted row by row; what is below the floor went with its table.
    assert (its.rows(first), its.rows(second)) == (0, 10)
    its.append_kept(4)
    assert (its.rows(first), its.rows(second)) == (4, 10)
    its.prune()
    assert (its.rows(first), its.rows(second)) == (4, 10)
    assert its.offsets(9) == list(range(10, 20))
    its.append_kept(6)
    its.prune()
    assert (its.rows(first), its.rows(second)) == (10, 0)
    assert its.offsets(15) == list(range(16, 26))


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_tables_go_on_in_turns_where_buffered_events_leave_their_marks(
    log: Callable[..., Log],
) -> None:
    its = log(retention_events=10, buffered_retention_s=60)
    for n in range(12):
        its.append(*[Draft(f"stream:{n}", "token", "1", buffered=True)] * 3)
        its.append_kept(4)
        its.make_older(100)
        its.prune()
    assert sum(map(its.rows, tables.KEPT_TABLES["postgresql"])) < 40
    assert sum(map(its.rows, tables.BUFFERED_TABLES["postgresql"])) <= 3


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_table_that_somebody_reads_for_long_is_emptied_later(log: Callable[..., Log]) -> None:
    its = log(retention_events=1)
    its.append_kept(3)
    its.append_kept(3)
    with its.live_app.engine().connect() as reading:
        reading.execute(sa.select(tables.live_event)).all()
        with pytest.raises(Busy):
            its.prune()
        assert its.offsets(5) == [6]
        its.append_kept(1)
    its.prune()
    assert its.rows(tables.live_event) == 0


def test_channel_with_a_shorter_retention_tells_what_has_gone_to_itself_alone(
    log: Callable[..., Log],
) -> None:
    its = log(channel_retention_s=(("chat:*", 100.0),), channel_retention_events=(("a*", 2),))
    for _ in range(3):
        its.append_kept(1, "chat:1")
        its.append_kept(1, "a")
        its.append_kept(1, "other")
    assert its.sweep() == 0  # all are young
    its.make_older(70)
    assert its.sweep() == 1
    assert its.offsets(0, "a") is None
    assert its.offsets(1, "a") is None
    assert its.offsets(2, "a") == [5, 8]
    assert its.offsets(0, "chat:1") == [1, 4, 7]
    its.append_kept(1, "chat:1")
    its.make_older(40)
    assert its.sweep() == 3
    assert its.offsets(6, "chat:1") is None
    assert its.offsets(7, "chat:1") == [10]
    assert its.offsets(0, "other") == [3, 6, 9]
    assert [e.offset for e in its.follower.newest("chat:1", 5)] == [10]
    assert its.sweep() == 0


def test_sweep_goes_through_many_channels_in_steps(
    log: Callable[..., Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flasknado.live.log.channel_retention.CHANNELS_PER_STEP", 3)
    its = log(channel_retention_events=(("c*", 1),))
    for n in range(10):
        its.append_kept(3, f"c{n}")
        its.append_kept(3, f"d{n}")
    its.make_older(70)
    assert its.sweep(batch_events=3) == 20
    assert all(its.offsets(6 * n + 2, f"c{n}") == [6 * n + 3] for n in range(10))
    assert all(its.offsets(0, f"d{n}") == [6 * n + 4, 6 * n + 5, 6 * n + 6] for n in range(10))
    assert its.sweep() == 0


def test_channel_whose_events_are_in_both_tables_goes_as_one(log: Callable[..., Log]) -> None:
    its = log(retention_events=4, channel_retention_events=(("c", 3),))
    for _ in range(3):
        its.append_kept(3, "c")
        its.prune()
    its.make_older(70)
    assert its.sweep() > 0
    assert its.offsets(5, "c") is None
    assert its.offsets(6, "c") == [7, 8, 9]


def test_revocations_have_the_retention_of_the_log(log: Callable[..., Log]) -> None:
    its = log(channel_retention_events=(("*", 1),))
    its.append_kept(3, REVOCATIONS)
    its.make_older(70)
    assert its.sweep() == 0


def test_memory_log_has_channels_with_a_shorter_retention(make_live_app: MakeApp) -> None:
    live_app = make_live_app(log_url="memory://")
    options = LiveOptions(channel_retention_events=(("a", 1),))
    wakeup = Wakeup()
    with live_app.log.following(wakeup, options) as follower:
        live_app.publish("a", "b", "a", "b")
        assert follower.sweep(10).events == 0
        old = [e._replace(created_at=e.created_at - 70) for e in live_app.log._kept]
        live_app.log._kept.clear()
        live_app.log._kept.extend(old)
        assert follower.sweep(10).events == 1
        batch = follower.read(0, ["a"], limit_events=9, limit_bytes=99)
        assert not batch.resumable(tables.Cursor(batch.epoch, 0))
        batch = follower.read(1, ["a"], limit_events=9, limit_bytes=99)
        assert batch.resumable(tables.Cursor(batch.epoch, 1))
        assert [event.offset for event in batch.events] == [3]
        assert len(follower.read(0, ["b"], limit_events=9, limit_bytes=99).events) == 2
    wakeup.close()
