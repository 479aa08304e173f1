"""What is old enough to go, and how it goes. Blocking; no Tornado.

Kept events go by number and by age, buffered ones and signals by bounds of their own, so that
neither kind drives out the other. SQLite deletes in small batches. On PostgreSQL the floor of
the log is raised, and a table goes as a whole (TRUNCATE) once everything in it is below the
floor: nothing is deleted row by row, so there is nothing to vacuum. Events stay on the disk up
to twice as long for it.

Ages are by the database's clock. A clock may step, so what goes for its age is bounded: ten
times what a log that is filled evenly loses in the time that has passed.
"""

from __future__ import annotations

import itertools
import math
import time
from typing import Any

import sqlalchemy as sa

from flasknado.live.log.tables import (
    BUFFERED_TABLES,
    GONE,
    KEPT_TABLES,
    ONLY_ROW,
    database_now,
    live_buffered,
    live_event,
    live_log,
    read_bounds,
)
from flasknado.live.options import LiveOptions

SIGNAL_LIFETIME_S = 10
"""How long a signal is there for the processes to read, before it may be pruned."""
AGE_HEADROOM = 10
"""How many times faster than it was filled a log may be emptied for its age."""
DROP_LOCK_TIMEOUT_S = 0.05
"""How long readers may have to wait behind the emptying of a table, which waits for others."""


class AgeAllowance:
    """How much of a log may go for its age: it grows with the time, by a clock that never steps.

    Belongs to one thread.
    """

    def __init__(self, retention_s: float, elapsed_s: float = 0.0) -> None:
        self._retention_s = retention_s
        self._share = AGE_HEADROOM * elapsed_s / retention_s
        self._at = time.monotonic()

    def of(self, events: int) -> int:
        """Return how many of so many events may go."""
        now = time.monotonic()
        self._share += AGE_HEADROOM * (now - self._at) / self._retention_s
        self._share = min(self._share, 1.0)
        self._at = now
        return math.ceil(events * self._share)

    def spend(self, events: int, of: int) -> None:
        """Note that some of so many have gone."""
        self._share = max(self._share - events / of, 0.0)


def cut_of(
    connection: sa.Connection, options: LiveOptions, allowance: AgeAllowance | None = None
) -> int:
    """Return the last offset that is to go; the floor, if none is. Without an allowance, all."""
    bounds = read_bounds(connection)
    floor = cut = bounds.oldest - 1
    held = bounds.head - floor
    if held > options.retention_events:
        cut = max(cut, _offset_from_the_end(connection, options.retention_events))
    now: float = connection.execute(sa.select(database_now(connection))).scalar_one()
    too_old_at = now - options.retention_s
    old = _last_before(connection, too_old_at, floor, bounds.head)
    if allowance is not None and old > cut:
        old = min(old, floor + allowance.of(held))
        allowance.spend(max(old - floor, 0), held)
    return max(cut, old)


def _offset_from_the_end(connection: sa.Connection, events: int) -> int:
    """Return the offset of the kept event that so many come after, or 0."""
    wanted = [
        sa.select(
            sa.select(table.c.offset)
            .where(table.c.name != GONE)
            .order_by(table.c.offset.desc())
            .limit(events + 1)
            .subquery()
            .c.offset
        )
        for table in KEPT_TABLES[connection.dialect.name]
    ]
    offsets = sa.union_all(*wanted).order_by(sa.desc("offset")).offset(events).limit(1)
    return connection.execute(offsets).scalar_one_or_none() or 0


def _last_before(connection: sa.Connection, moment: float, floor: int, head: int) -> int:
    """Return the last offset whose event was before a moment, by halving; the floor if none."""
    last, until = floor, head
    middle = floor + 1  # most often the oldest is young enough
    while last < until:
        found = connection.execute(_AT[connection.dialect.name], {"least": middle}).first()
        if found is None or found.offset > until or found.created_at >= moment:
            until = middle - 1
        else:
            last = found.offset
        middle = (last + until + 1) // 2
    return last


def _at(tables: tuple[sa.Table, ...]) -> sa.CompoundSelect[Any]:
    firsts = [
        sa.select(table.c.offset, table.c.created_at)
        .where(table.c.offset >= sa.bindparam("least"))
        .order_by(table.c.offset)
        .limit(1)
        .subquery()
        for table in tables
    ]
    return sa.union_all(*(sa.select(first) for first in firsts)).order_by("offset").limit(1)


_AT = {name: _at(tables) for name, tables in KEPT_TABLES.items()}


def raise_floor(connection: sa.Connection, cut: int) -> int:
    """Have the log begin after an offset; return by how many that is more."""
    floor: int = connection.scalar(sa.select(live_log.c.floor).where(ONLY_ROW)) or 0
    if cut <= floor:
        return 0
    connection.execute(
        sa.update(live_log).where(ONLY_ROW, live_log.c.floor < cut).values(floor=cut)
    )
    return cut - floor


# --- SQLite: in small batches ---------------------------------------------------------------


def prune_batch(
    connection: sa.Connection, options: LiveOptions, batch_events: int, cut: int
) -> int:
    """Delete at most `batch_events` of each kind, kept ones up to `cut`; return how many went.

    On SQLite, in the connection's transaction.
    """
    last = connection.scalar(
        sa.select(live_event.c.offset)
        .where(live_event.c.offset <= cut)
        .order_by(live_event.c.offset)
        .offset(batch_events - 1)
        .limit(1)
    )
    upto = cut if last is None else last
    deleted = 0
    if raise_floor(connection, upto):
        gone = connection.execute(sa.delete(live_event).where(live_event.c.offset <= upto))
        deleted = gone.rowcount
    deleted += _prune_buffered(connection, options, batch_events)
    return deleted + _prune_signals(connection, batch_events)


def _prune_buffered(connection: sa.Connection, options: LiveOptions, batch_events: int) -> int:
    table = live_buffered
    beyond = 0
    first, last = connection.execute(
        sa.select(
            sa.select(sa.func.min(table.c.offset)).scalar_subquery(),
            sa.select(sa.func.max(table.c.offset)).scalar_subquery(),
        )
    ).one()
    if first is None:
        return 0
    if last - first >= options.buffered_retention_events:
        newest = sa.select(table.c.offset).where(table.c.kept).order_by(table.c.offset.desc())
        beyond = connection.scalar(newest.offset(options.buffered_retention_events).limit(1)) or 0
    too_old_at = time.time() - options.buffered_retention_s
    front = sa.select(table.c.offset, table.c.channel, table.c.kept, table.c.created_at)
    rows = connection.execute(front.order_by(table.c.offset).limit(batch_events)).all()
    gone = list(
        itertools.takewhile(lambda r: r.offset <= beyond or r.created_at < too_old_at, rows)
    )
    # The last of each channel stands for those that are gone.
    for row in {row.channel: row for row in gone if row.kept}.values():
        former = sa.and_(live_event.c.channel == row.channel, live_event.c.name == GONE)
        connection.execute(sa.delete(live_event).where(former))
        values = {"name": GONE, "data": "", **row._mapping}
        connection.execute(sa.insert(live_event).values(values))
    if gone:
        connection.execute(sa.delete(table).where(table.c.offset <= gone[-1].offset))
    return len(gone)


def _prune_signals(connection: sa.Connection, batch_events: int) -> int:
    old = (
        sa.select(live_buffered.c.offset)
        .where(sa.text("NOT kept"), live_buffered.c.created_at < time.time() - SIGNAL_LIFETIME_S)
        .order_by(live_buffered.c.offset)
        .limit(batch_events)
    )
    gone = connection.execute(sa.delete(live_buffered).where(live_buffered.c.offset.in_(old)))
    return gone.rowcount


# --- PostgreSQL: a table at a time ----------------------------------------------------------


def expired_tables(connection: sa.Connection, options: LiveOptions) -> list[sa.Table]:
    """Return the tables in which everything is to go."""
    tables = (*KEPT_TABLES["postgresql"], *BUFFERED_TABLES["postgresql"])
    return [table for table in tables if _expired(connection, table, options)]


def _expired(connection: sa.Connection, table: sa.Table, options: LiveOptions) -> bool:
    newest = connection.execute(
        sa.select(table.c.offset, table.c.created_at).order_by(table.c.offset.desc()).limit(1)
    ).one_or_none()
    if newest is None:
        return False
    if table in KEPT_TABLES["postgresql"]:
        return bool(newest.offset < read_bounds(connection).oldest)
    first, second = BUFFERED_TABLES["postgresql"]
    other = second if table is first else first
    later = sa.select(other.c.offset).where(other.c.kept, other.c.offset > newest.offset)
    later = later.order_by(other.c.offset).offset(options.buffered_retention_events - 1).limit(1)
    if connection.scalar(later) is not None:
        return True
    age_s: float = connection.scalar(sa.select(database_now(connection) - newest.created_at)) or 0.0
    return age_s > options.buffered_retention_s


def empty(connection: sa.Connection, table: sa.Table, options: LiveOptions) -> bool:
    """Empty a table that has expired, in the connection's transaction; return whether it had.

    Raises `sqlalchemy.exc.OperationalError` if somebody reads it for long.
    """
    connection.execute(sa.select(live_log.c.head).where(ONLY_ROW).with_for_update())
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(DROP_LOCK_TIMEOUT_S * 1000)}")
    connection.exec_driver_sql(f"LOCK TABLE {table.name} IN ACCESS EXCLUSIVE MODE")
    # Another process may have emptied it meanwhile, and its turn may have come.
    if not _expired(connection, table, options):
        return False
    if table in BUFFERED_TABLES["postgresql"]:
        # The last of each channel stands for those that are gone.
        _note_gone(connection, table)
    connection.exec_driver_sql(f"TRUNCATE {table.name}")
    return True


def _note_gone(connection: sa.Connection, table: sa.Table) -> None:
    # Not into one that is empty: it would seem to have been filled before the other.
    lasts = {
        kept: connection.scalar(sa.select(sa.func.max(kept.c.offset))) or 0
        for kept in KEPT_TABLES["postgresql"]
    }
    gone = (
        sa.select(
            sa.func.max(table.c.offset),
            table.c.channel,
            sa.literal(GONE),
            sa.literal(""),
            sa.true(),
            sa.func.max(table.c.created_at),
        )
        .where(table.c.kept)
        .group_by(table.c.channel)
    )
    columns = ["offset", "channel", "name", "data", "kept", "created_at"]
    last_filled = max(lasts, key=lasts.__getitem__)
    connection.execute(sa.insert(last_filled).from_select(columns, gone))
