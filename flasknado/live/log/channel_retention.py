"""Channels that keep their events for a shorter time, or fewer of them, than the whole log does.

Their kept events are deleted row by row, in small batches, and the last one that went leaves a
row in its place (`flasknado.live.log.tables.GONE`), so that who resumes from before it is told.
Nothing goes that is younger than a minute: whoever follows the log has read it by then.
Blocking; no Tornado.
"""

from __future__ import annotations

import fnmatch
import itertools
import math
from typing import Any, NamedTuple

import sqlalchemy as sa

from flasknado.live.event import REVOCATIONS
from flasknado.live.log.tables import GONE, KEPT_TABLES, ONLY_ROW, database_now, live_log
from flasknado.live.options import LiveOptions

YOUNG_S = 60.0
CHANNELS_PER_STEP = 200
"""How many channels one step looks at."""


class Swept(NamedTuple):
    """What one step of a sweep did."""

    events: int
    """How many it deleted."""
    more: bool
    """Whether the sweep goes on."""


NOTHING_SWEPT = Swept(0, more=False)


class Limits(NamedTuple):
    """How long a channel keeps its events, and how many."""

    age_s: float
    events: float


def limits_of(channel: str, options: LiveOptions) -> Limits | None:
    """Return a channel's own limits, if it has any: of the first pattern that it matches."""
    if channel == REVOCATIONS:
        return None
    age_s = _first_match(channel, options.channel_retention_s)
    events = _first_match(channel, options.channel_retention_events)
    if age_s is None and events is None:
        return None
    return Limits(age_s or math.inf, events or math.inf)


def _first_match(channel: str, limits: tuple[tuple[str, float], ...]) -> float | None:
    return next((limit for pattern, limit in limits if fnmatch.fnmatchcase(channel, pattern)), None)


class Sweep:
    """Goes through the channels, step by step and again and again. Belongs to one thread."""

    def __init__(self, options: LiveOptions) -> None:
        self._options = options
        self._enabled = bool(options.channel_retention_s or options.channel_retention_events)
        self._after = ""

    @property
    def enabled(self) -> bool:
        """Whether any channel has limits of its own."""
        return self._enabled

    def step(self, connection: sa.Connection, batch_events: int) -> Swept:
        """Delete at most `batch_events`, in the connection's transaction."""
        tables = KEPT_TABLES[connection.dialect.name]
        if connection.dialect.name == "postgresql":
            # Whoever empties a table waits, and so does who fills one.
            connection.execute(sa.select(live_log.c.head).where(ONLY_ROW).with_for_update())
        now: float = connection.execute(sa.select(database_now(connection))).scalar_one()
        channels = sorted(
            {c for table in tables for c in connection.scalars(_CHANNELS[table], self._place())}
        )[:CHANNELS_PER_STEP]
        left = batch_events
        for channel in channels:
            limits = limits_of(channel, self._options)
            if limits is not None:
                left -= _delete(connection, tables, channel, limits, now, left)
                if left <= 0:
                    return Swept(batch_events, more=True)  # there may be more of this channel
            self._after = channel
        more = len(channels) == CHANNELS_PER_STEP
        if not more:
            self._after = ""
        return Swept(batch_events - left, more)

    def _place(self) -> dict[str, Any]:
        return {"after": self._after, "count": CHANNELS_PER_STEP}


def _channels_of(table: sa.Table) -> sa.Select[Any]:
    """Return the names of channels after one, each found by one look into the index."""
    column = table.c.channel
    found = sa.select(sa.func.min(column).label("channel")).where(column > sa.bindparam("after"))
    cte = found.cte("found", recursive=True)
    following = sa.select(sa.func.min(column)).where(column > cte.c.channel).scalar_subquery()
    cte = cte.union_all(sa.select(following).where(cte.c.channel.is_not(None)))
    names = sa.select(cte.c.channel).where(cte.c.channel.is_not(None))
    return names.limit(sa.bindparam("count", type_=sa.Integer))


_CHANNELS = {table: _channels_of(table) for table in KEPT_TABLES["postgresql"]}


def _delete(
    connection: sa.Connection,
    tables: tuple[sa.Table, ...],
    channel: str,
    limits: Limits,
    now: float,
    limit: int,
) -> int:
    """Delete a channel's oldest events as far as they are beyond its limits; return how many."""
    beyond = 0
    if limits.events < math.inf:
        newest = _rows(tables, channel, limits.events + 1, newest_first=True)
        rows = connection.execute(newest).all()
        beyond = rows[-1].offset if len(rows) > limits.events else 0
    too_old_at = now - max(limits.age_s, YOUNG_S)
    young_at = now - YOUNG_S
    oldest = connection.execute(_rows(tables, channel, limit, newest_first=False))
    gone = list(
        itertools.takewhile(
            lambda row: (
                row.created_at < too_old_at or (row.offset <= beyond and row.created_at < young_at)
            ),
            oldest,
        )
    )
    if not gone:
        return 0
    last = gone[-1].offset
    for table in tables:
        its_last = connection.scalar(sa.select(table.c.offset).where(table.c.offset == last))
        former = sa.and_(table.c.channel == channel, table.c.offset <= last)
        connection.execute(sa.delete(table).where(former))
        if its_last is not None:
            marker = {"offset": last, "channel": channel, "name": GONE, "data": "", "kept": True}
            connection.execute(sa.insert(table).values(**marker, created_at=gone[-1].created_at))
    return len(gone)


def _rows(
    tables: tuple[sa.Table, ...], channel: str, limit: float, *, newest_first: bool
) -> sa.Select[Any]:
    branches = []
    for table in tables:
        order = table.c.offset.desc() if newest_first else table.c.offset
        branch = (
            sa.select(table.c.offset, table.c.created_at)
            .where(table.c.channel == channel, table.c.name != GONE)
            .order_by(order)
            .limit(int(limit))
        )
        branches.append(sa.select(branch.subquery()))
    both = sa.union_all(*branches).subquery()
    last = both.c.offset.desc() if newest_first else both.c.offset
    return sa.select(both).order_by(last).limit(int(limit))
