"""The log's tables on SQLite: appending, reading, pruning."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from flasknado.errors import ConfigurationError
from flasknado.live.event import Cursor, Event
from flasknado.live.log import retention, tables
from flasknado.live.log.tables import Draft
from flasknado.live.options import LiveOptions


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/log.db")
    tables.metadata.create_all(engine)
    yield engine
    engine.dispose()


def append(engine: sa.Engine, *channels: str) -> list[Event]:
    with engine.begin() as connection:
        return tables.append(connection, [Draft(channel, "n", "1") for channel in channels])[1]


def read(engine: sa.Engine, after: int, *channels: str, events: int = 100) -> tables.Batch:
    with engine.connect() as connection:
        return tables.read(
            connection, after, channels or None, limit_events=events, limit_bytes=10**6
        )


def offsets(batch: tables.Batch) -> list[int]:
    return [event.offset for event in batch.events]


def test_append_several_have_rising_offsets_without_a_hole(engine: sa.Engine) -> None:
    assert [e.offset for e in append(engine, "a", "b")] == [1, 2]
    assert append(engine, "c") == [Event(3, "c", "n", "1")]
    assert offsets(read(engine, 0)) == [1, 2, 3]


def test_append_rolled_back_takes_its_offsets_with_it(engine: sa.Engine) -> None:
    append(engine, "a")
    with engine.connect() as connection:
        tables.append(connection, [Draft("a", "n", "1")] * 5)
        connection.rollback()
    assert [e.offset for e in append(engine, "a")] == [2]


def test_create_log_twice_keeps_the_first_epoch(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        assert tables.read_head(connection) is None
        tables.create_log(connection)
        first = tables.read_head(connection)
        tables.create_log(connection)
        assert tables.read_head(connection) == first
    assert first is not None
    assert first.offset == 0


def test_read_of_channels_is_complete_to_the_head_with_only_theirs(engine: sa.Engine) -> None:
    append(engine, "a", "b", "c", "a", "b")
    batch = read(engine, 1, "a", "c")
    assert [(e.offset, e.channel) for e in batch.events] == [(3, "c"), (4, "a")]
    assert (batch.complete_to, batch.head, batch.oldest) == (5, 5, 1)


def test_read_cut_at_the_number_of_events_says_how_far_it_goes(engine: sa.Engine) -> None:
    append(engine, *"aaaba")
    batch = read(engine, 0, "a", events=3)
    assert (offsets(batch), batch.complete_to, batch.head) == ([1, 2, 3], 3, 5)
    assert read(engine, 3, "a", events=3).complete_to == 5


def test_read_cut_at_bytes_has_at_least_one_event(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        tables.append(connection, [Draft("a", "n", f'"{"x" * 50}"')] * 4)
        batch = tables.read(connection, 0, None, limit_events=10, limit_bytes=60)
    assert (offsets(batch), batch.complete_to) == ([1, 2], 2)


def test_read_of_a_rare_channel_goes_on_in_spans(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "SPAN_EVENTS", 10)
    append(engine, *["a"] * 24, "b")
    first = read(engine, 0, "b")
    assert (first.events, first.complete_to) == ([], 10)
    assert read(engine, 10, "b").complete_to == 20
    assert offsets(read(engine, 20, "b")) == [25]


def test_read_without_a_log_is_an_error(engine: sa.Engine) -> None:
    with pytest.raises(sa.exc.NoResultFound):
        read(engine, 0)
    with engine.connect() as connection, pytest.raises(sa.exc.NoResultFound):
        tables.read_bounds(connection)


def test_bounds_of_an_empty_log_begin_after_the_head(engine: sa.Engine) -> None:
    append(engine, "a", "a")
    prune(engine, age_s=-1)
    with engine.begin() as connection:
        bounds = tables.read_bounds(connection)
    assert (bounds.oldest, bounds.head, bounds.complete_to) == (3, 2, 2)


@pytest.mark.parametrize(
    ("cursor", "resumable"),
    [
        (Cursor("e", 2), False),
        (Cursor("e", 3), True),
        (Cursor("e", 9), True),
        (Cursor("e", 10), False),
        (Cursor("f", 5), False),
    ],
)
def test_cursor_is_resumable_within_the_log_of_its_epoch(cursor: Cursor, resumable: bool) -> None:
    assert tables.Batch("e", head=9, oldest=4, events=[], complete_to=9).resumable(cursor) == (
        resumable
    )


def prune(engine: sa.Engine, *, events: int = 10**6, age_s: float = 10**6, batch: int = 10) -> int:
    options = LiveOptions(retention_events=events, retention_s=age_s)
    with engine.begin() as connection:
        cut = retention.cut_of(connection, options)
        return retention.prune_batch(connection, options, batch, cut)


def test_prune_by_count_deletes_the_oldest_in_batches(engine: sa.Engine) -> None:
    append(engine, *["a"] * 25)
    assert [prune(engine, events=7) for _ in range(3)] == [10, 8, 0]
    batch = read(engine, 18)
    assert (offsets(batch), batch.oldest) == ([19, 20, 21, 22, 23, 24, 25], 19)


def test_prune_by_age_deletes_what_is_older(engine: sa.Engine) -> None:
    append(engine, "a", "a", "a")
    with engine.begin() as connection:
        old = sa.update(tables.live_event).where(tables.live_event.c.offset <= 2)
        connection.execute(old.values(created_at=1.0))
    assert prune(engine) == 2
    assert offsets(read(engine, 2)) == [3]


def test_prune_everything_keeps_the_head(engine: sa.Engine) -> None:
    append(engine, "a", "a")
    assert prune(engine, age_s=-1) == 2
    assert [e.offset for e in append(engine, "a")] == [3]


def test_signals_are_read_by_followers_of_all_channels_and_never_replayed(
    engine: sa.Engine,
) -> None:
    with engine.begin() as connection:
        drafts = [Draft("a", "n", "1"), Draft("a", "typing", "1", kept=False)]
        tables.append(connection, drafts)
    assert offsets(read(engine, 0)) == [1, 2]
    replayed = read(engine, 0, "a")
    assert (offsets(replayed), replayed.complete_to) == ([1], 2)


def test_prune_takes_old_signals_and_leaves_the_events_resumable(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        tables.append(connection, [Draft("a", "n", "1", kept=n % 2 == 0) for n in range(6)])
        connection.execute(sa.update(tables.live_buffered).values(created_at=time.time() - 30))
    assert prune(engine) == 3
    batch = read(engine, 0)
    assert (offsets(batch), batch.oldest) == ([1, 3, 5], 1)


def test_epoch_is_renewed_once_and_only_where_the_log_went_back(engine: sa.Engine) -> None:
    append(engine, "a", "a")
    with engine.begin() as connection:
        head = tables.read_head(connection)
        assert head is not None
        tables.renew_epoch(connection, head)
        assert tables.read_head(connection) == head
        tables.renew_epoch(connection, Cursor(head.epoch, 3))
        renewed = tables.read_head(connection)
        tables.renew_epoch(connection, Cursor(head.epoch, 3))
        assert renewed is not None
        assert tables.read_head(connection) == renewed
    assert renewed.epoch != head.epoch


def test_dialect_that_cannot_keep_a_log_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="SQLite or PostgreSQL, and this database is mys"):
        tables.check_dialect("mysql")


@pytest.mark.parametrize(
    ("url", "in_memory"),
    [
        ("sqlite://", True),
        ("sqlite:///:memory:", True),
        ("sqlite:///file:x?mode=memory&uri=true", True),
        ("sqlite:///file::memory:?uri=true", True),
        ("sqlite:////tmp/x.db", False),
        ("postgresql://localhost/x", False),
    ],
)
def test_database_in_memory_is_recognised(url: str, in_memory: bool) -> None:
    assert tables.in_memory(sa.make_url(url)) == in_memory
