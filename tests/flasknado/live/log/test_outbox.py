"""Giving offsets to what was published on PostgreSQL: order, density, and whom it waits for."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from flasknado.live.event import Event
from flasknado.live.log import outbox, tables
from flasknado.live.log.tables import Draft
from tests.flasknado.live.helpers import wait_for
from tests.support.postgres import PostgresServer


@pytest.fixture
def engine(postgres: PostgresServer) -> Iterator[sa.Engine]:
    engine = sa.create_engine(postgres.url(), connect_args={"options": "-c lock_timeout=10s"})
    tables.metadata.create_all(engine)
    yield engine
    engine.dispose()


def insert(connection: sa.Connection, *names: str, kept: bool = True) -> None:
    outbox.insert(connection, [Draft("a", name, "1", kept) for name in names])


def publish(engine: sa.Engine, *names: str, kept: bool = True) -> None:
    with engine.begin() as connection:
        insert(connection, *names, kept=kept)


def number(
    engine: sa.Engine, horizon: outbox.Horizon | None = None, limit: int = 100
) -> outbox.Numbered:
    with engine.begin() as connection:
        return outbox.number(connection, horizon, limit=limit)


def logged(engine: sa.Engine) -> list[tuple[int, str]]:
    with engine.connect() as connection:
        batch = tables.read(connection, 0, None, limit_events=10**6, limit_bytes=10**9)
    return [(event.offset, event.name) for event in batch.events]


def test_events_get_dense_offsets_in_the_order_in_which_they_were_published(
    engine: sa.Engine,
) -> None:
    publish(engine, "one", "two")
    publish(engine, "three")
    done = number(engine)
    assert (done.events, done.more, done.cursor.offset) == (3, False, 3)
    publish(engine, "four")
    number(engine)
    assert logged(engine) == [(1, "one"), (2, "two"), (3, "three"), (4, "four")]


def test_transaction_that_was_rolled_back_leaves_no_hole(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        insert(connection, "lost")
        connection.rollback()
    publish(engine, "kept")
    number(engine)
    assert logged(engine) == [(1, "kept")]


def test_sequence_of_the_outbox_hands_out_no_numbers_in_advance(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        caches = connection.exec_driver_sql(
            "SELECT seqcache FROM pg_sequence WHERE seqrelid ="
            " pg_get_serial_sequence('live_outbox', 'id')::regclass"
        ).all()
    assert caches == [(1,)]


def test_publishing_waits_for_nobody_and_a_long_transaction_stalls_nobody(
    engine: sa.Engine,
) -> None:
    with engine.connect() as long, engine.connect() as numbering:
        insert(long, "long")
        publish(engine, "short")
        horizon = number(engine).horizon
        assert logged(engine) == [(1, "short")]
        # Not even for who gives offsets.
        outbox.number(numbering)
        publish(engine, "meanwhile")
        numbering.rollback()
        horizon = number(engine, horizon).horizon
        for n in range(5):
            publish(engine, f"later {n}")
            horizon = number(engine, horizon).horizon
        long.commit()
        assert number(engine, horizon).events == 1
    assert [name for _, name in logged(engine)] == [
        "short",
        "meanwhile",
        *(f"later {n}" for n in range(5)),
        "long",
    ]


@pytest.mark.parametrize(("limit", "more"), [(100, False), (2, True)])
def test_numbering_that_waited_for_another_takes_nothing_twice_and_forgets_nothing(
    engine: sa.Engine, limit: int, more: bool
) -> None:
    number(engine)  # which makes the log
    publish(engine, *"abcde")
    done: list[outbox.Numbered] = []
    second = threading.Thread(target=lambda: done.append(number(engine, limit=limit)))
    with engine.connect() as first:
        assert outbox.number(first, limit=limit).events == min(limit, 5)
        # It sees what the first has taken and not committed.
        second.start()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as asking:
            wait_for(lambda: asking.exec_driver_sql(waiting).scalar() == 1, "the second to wait")
        publish(engine, "f")
        first.commit()
    second.join()
    assert (done[0].events, done[0].more) == (0, more)
    horizon = done[0].horizon
    while number(engine, horizon, limit=limit).more:
        horizon = None
    assert logged(engine) == [(n, name) for n, name in enumerate("abcdef", 1)]


def test_event_that_depends_on_another_comes_after_it_though_it_was_seen_first(
    engine: sa.Engine,
) -> None:
    # The first takes its id, and its commit comes after one that knows nothing of it.
    with engine.connect() as first:
        insert(first, "cause")
        publish(engine, "stranger")
        first.commit()
    publish(engine, "effect")
    number(engine)
    names = [name for _, name in logged(engine)]
    assert names.index("cause") < names.index("effect")


def test_horizon_finds_what_has_become_visible_and_nothing_twice(engine: sa.Engine) -> None:
    with engine.connect() as one, engine.connect() as other:
        insert(one, "one")
        insert(other, "other")
        horizon = number(engine).horizon
        assert horizon is not None
        assert len(horizon.running) + (horizon.next_xid > 0) >= 1
        one.commit()
        with engine.connect() as connection:
            assert outbox.pending(connection, horizon)
        second = number(engine, horizon)
        assert second.events == 1
        with engine.connect() as connection:
            assert not outbox.pending(connection, second.horizon)
        other.commit()
        assert number(engine, second.horizon).events == 1
    assert [name for _, name in logged(engine)] == ["one", "other"]


def test_outbox_that_is_longer_than_a_batch_is_numbered_in_order(engine: sa.Engine) -> None:
    publish(engine, *map(str, range(25)))
    horizon, counts = None, []
    while True:
        done = number(engine, horizon, limit=10)
        counts.append(done.events)
        horizon = done.horizon
        assert done.more == (horizon is None)
        if not done.more:
            break
    assert counts == [10, 10, 5]
    assert logged(engine) == [(n + 1, str(n)) for n in range(25)]


def test_append_returns_the_cursor_and_lets_go_first_what_was_published_before(
    engine: sa.Engine,
) -> None:
    publish(engine, *map(str, range(15)))
    with engine.begin() as connection:
        cursor = outbox.append(connection, [Draft("a", "x", "1"), Draft("a", "y", "1")])
    assert cursor.offset == 17
    assert logged(engine)[-2:] == [(16, "x"), (17, "y")]


def test_kinds_go_to_tables_of_their_own_and_are_read_as_one_log(engine: sa.Engine) -> None:
    drafts = [Draft("a", "kept", "1"), Draft("a", "signal", "1", kept=False)]
    with engine.begin() as connection:
        outbox.insert(connection, [*drafts, Draft("a", "token", "1", buffered=True)])
    number(engine)
    assert logged(engine) == [(1, "kept"), (2, "signal"), (3, "token")]
    with engine.connect() as connection:
        kept = connection.execute(sa.select(tables.live_event.c.name)).scalars().all()
        batch = tables.read(connection, 0, ["a"], limit_events=10, limit_bytes=100)
    assert kept == ["kept"]
    assert [event.name for event in batch.events] == ["kept", "token"]


def test_write_without_offsets_says_so(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        events = outbox.write(connection, [Draft("a", "n", "1")])
    assert events == [Event(outbox.NO_OFFSET, "a", "n", "1")]
