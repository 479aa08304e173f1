"""The log's two tables and every statement on them. Blocking; no Tornado.

`live_log` is one row: the epoch, which names this log; the head, the last offset given out;
and the floor, the last offset that was pruned. `live_event` holds every event between them,
because a transaction that is rolled back takes its advance of the head with it. Signals
(`kept` false) have offsets too, and go within a minute.

A transaction that publishes keeps the row of `live_log` locked from its advance to its
commit, so offsets rise in commit order. On PostgreSQL it also sends NOTIFY, which arrives
when it commits.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from flasknado.errors import ConfigurationError
from flasknado.live.event import MAX_NAME_CHARS, MAX_OFFSET, Cursor, Event

SPAN_EVENTS = 5000
"""How many offsets one read looks at, so that none keeps the reader for long."""

SIGNAL_LIFETIME_S = 10
"""How long a signal is there for the processes to read, before it may be pruned."""

NOTIFY_CHANNEL = "flasknado_live"
"""What PostgreSQL's listeners listen to."""

metadata = sa.MetaData()

# On SQLite only an INTEGER primary key is the table's own b-tree.
_Offset = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

live_log = sa.Table(
    "live_log",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.String(32), nullable=False),
    sa.Column("head", sa.BigInteger, nullable=False),
    sa.Column("floor", sa.BigInteger, nullable=False),
)

live_event = sa.Table(
    "live_event",
    metadata,
    sa.Column("offset", _Offset, primary_key=True, autoincrement=False),
    sa.Column("channel", sa.String(MAX_NAME_CHARS), nullable=False),
    sa.Column("name", sa.String(MAX_NAME_CHARS), nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("kept", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Index("ix_live_event_channel_offset", "channel", "offset"),
    sa.Index(
        "ix_live_event_signal",
        "offset",
        sqlite_where=sa.text("NOT kept"),
        postgresql_where=sa.text("NOT kept"),
    ),
)

_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_ONLY_ROW = live_log.c.id == 1

_ADVANCE = (
    sa.update(live_log)
    .where(_ONLY_ROW)
    .values(head=live_log.c.head + sa.bindparam("count"))
    .returning(live_log.c.epoch, live_log.c.head)
)
_APPEND = sa.insert(live_event)
_HEAD = sa.select(live_log.c.epoch, live_log.c.head).where(_ONLY_ROW)
_BOUNDS = sa.select(live_log.c.epoch, live_log.c.head, live_log.c.floor).where(_ONLY_ROW)
_NOTIFY = sa.select(sa.func.pg_notify(NOTIFY_CHANNEL, ""))


def _read_statement(*conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Return the read of bounds and events as one statement, so that both are of one moment."""
    wanted = sa.and_(
        live_event.c.offset > sa.bindparam("after"),
        live_event.c.offset <= sa.bindparam("until"),
        *conditions,
    )
    return (
        sa.select(
            live_log.c.epoch,
            live_log.c.head,
            live_log.c.floor,
            live_event.c.offset,
            live_event.c.channel,
            live_event.c.name,
            live_event.c.data,
        )
        .select_from(live_log.outerjoin(live_event, wanted))
        .where(_ONLY_ROW)
        .order_by(live_event.c.offset)
        .limit(sa.bindparam("row_limit", type_=sa.Integer))
    )


_READ_ALL = _read_statement()
_READ_CHANNELS = _read_statement(
    live_event.c.channel.in_(sa.bindparam("channels", expanding=True)),
    live_event.c.kept.is_(sa.true()),
)


class Draft(NamedTuple):
    """An event that is not committed yet, so it has no offset."""

    channel: str
    name: str
    data: str
    kept: bool = True
    """False for a signal: delivered to who is there, and never replayed."""


class Batch(NamedTuple):
    """What one read of the log found, all of one moment.

    Every event after the offset asked for (and of the channels asked for) up to and
    including `complete_to` is in `events`; signals are there if all channels were asked for.
    `oldest` is the smallest offset that was not pruned, or `head + 1` if all were.
    """

    epoch: str
    head: int
    oldest: int
    events: list[Event]
    complete_to: int

    def resumable(self, cursor: Cursor) -> bool:
        """Return whether nothing after `cursor` has been lost."""
        return cursor.epoch == self.epoch and self.oldest - 1 <= cursor.offset <= self.head


def check_dialect(dialect_name: str) -> None:
    """Raise `ConfigurationError` if the log cannot be kept in such a database."""
    if dialect_name not in _INSERTS:
        raise ConfigurationError(
            f"live events are kept in SQLite or PostgreSQL, and this database is "
            f"{dialect_name}: give the application a database of these"
        )


def create_log(connection: sa.Connection) -> None:
    """Insert the log's row if there is none; any number of processes may try at once."""
    check_dialect(connection.dialect.name)
    insert = _INSERTS[connection.dialect.name](live_log)
    row = {"id": 1, "epoch": new_epoch(), "head": 0, "floor": 0}
    connection.execute(insert.values(row).on_conflict_do_nothing())


def new_epoch() -> str:
    """Return a name for a log that no other has."""
    return secrets.token_hex(4)


def renew_epoch(connection: sa.Connection, followed: Cursor) -> None:
    """Name the log anew if it has gone back behind `followed`, as by a restored backup.

    Else it could grow past the cursors of its other future, and they would seem to be
    resumable. Of several processes that see it, one renews.
    """
    connection.execute(
        sa.update(live_log)
        .where(_ONLY_ROW, live_log.c.epoch == followed.epoch, live_log.c.head < followed.offset)
        .values(epoch=new_epoch())
    )


def read_head(connection: sa.Connection) -> Cursor | None:
    """Return the log's present end, or `None` if the log has not been created."""
    row = connection.execute(_HEAD).one_or_none()
    return None if row is None else Cursor(row.epoch, row.head)


def append(connection: sa.Connection, drafts: Sequence[Draft]) -> tuple[str, list[Event]]:
    """Append events in the connection's transaction; return the epoch and the events.

    From here to its end the transaction keeps every other publisher waiting, so this
    belongs right before the commit.
    """
    check_dialect(connection.dialect.name)
    row = connection.execute(_ADVANCE, {"count": len(drafts)}).one_or_none()
    if row is None:
        create_log(connection)
        row = connection.execute(_ADVANCE, {"count": len(drafts)}).one()
    first = row.head - len(drafts) + 1
    created_at = time.time()
    rows = [
        {**draft._asdict(), "offset": first + n, "created_at": created_at}
        for n, draft in enumerate(drafts)
    ]
    connection.execute(_APPEND, rows)
    if connection.dialect.name == "postgresql":
        connection.execute(_NOTIFY)
    return row.epoch, [Event(first + n, *draft[:3]) for n, draft in enumerate(drafts)]


def read_bounds(connection: sa.Connection) -> Batch:
    """Return the bounds of the log, complete up to its head and without events.

    Raises `sqlalchemy.exc.NoResultFound` if the log has not been created.
    """
    row = connection.execute(_BOUNDS).one()
    return Batch(row.epoch, row.head, row.floor + 1, [], row.head)


def read(
    connection: sa.Connection,
    after: int,
    channels: Collection[str] | None,
    *,
    limit_events: int,
    limit_bytes: int,
) -> Batch:
    """Return the events after an offset, of these channels or of all, oldest first.

    At most `limit_events`, no more once they have `limit_bytes` (counted as characters),
    and none beyond `SPAN_EVENTS` offsets; `complete_to` says how far that goes. Raises
    `sqlalchemy.exc.NoResultFound` if the log has not been created.
    """
    until = min(after + SPAN_EVENTS, MAX_OFFSET)
    parameters: dict[str, Any] = {"after": after, "until": until, "row_limit": limit_events + 1}
    if channels is None:
        result = connection.execute(_READ_ALL, parameters)
    else:
        result = connection.execute(_READ_CHANNELS, {**parameters, "channels": list(channels)})
    events: list[Event] = []
    size_bytes = 0
    cut = False
    row: Any = None
    with result:
        for row in result:
            if row.offset is None:
                break
            if len(events) == limit_events or size_bytes >= limit_bytes:
                cut = True
                break
            events.append(Event(row.offset, row.channel, row.name, row.data))
            size_bytes += len(row.data)
    if row is None:
        raise sa.exc.NoResultFound("live_log has no row")
    complete_to = events[-1].offset if cut else min(row.head, until)
    return Batch(row.epoch, row.head, row.floor + 1, events, complete_to)


def read_newest(connection: sa.Connection, channel: str, limit_events: int) -> list[Event]:
    """Return the newest events of a channel, at most so many, oldest first."""
    wanted = sa.select(live_event.c.offset, live_event.c.channel, live_event.c.name)
    rows = connection.execute(
        wanted.add_columns(live_event.c.data)
        .where(live_event.c.channel == channel)
        .order_by(live_event.c.offset.desc())
        .limit(limit_events)
    )
    return [Event(*row) for row in rows][::-1]


def prune(
    connection: sa.Connection,
    *,
    retention_events: int,
    retention_s: float,
    batch_events: int,
) -> int:
    """Delete at most `batch_events` of the oldest events beyond the retention, and as many
    signals; return how many went.

    The floor is raised first, so that a failure between leaves only rows that nobody reads.
    Short transactions of their own: committed before it returns.
    """
    head = read_head(connection)
    if head is None:
        return 0
    oldest = connection.execute(
        sa.select(live_event.c.offset, live_event.c.created_at)
        .order_by(live_event.c.offset)
        .limit(batch_events)
    ).all()
    too_old_at = time.time() - retention_s
    cut = 0
    for row in oldest:
        if row.offset > head.offset - retention_events and row.created_at >= too_old_at:
            break
        cut = row.offset
    deleted = _prune_signals(connection, batch_events)
    if cut:
        raised = sa.update(live_log).where(_ONLY_ROW, live_log.c.floor < cut).values(floor=cut)
        connection.execute(raised)
        gone = connection.execute(sa.delete(live_event).where(live_event.c.offset <= cut))
        deleted += gone.rowcount
    if deleted:
        connection.commit()
    else:
        connection.rollback()
    return deleted


def _prune_signals(connection: sa.Connection, batch_events: int) -> int:
    old = (
        sa.select(live_event.c.offset)
        .where(sa.text("NOT kept"), live_event.c.created_at < time.time() - SIGNAL_LIFETIME_S)
        .order_by(live_event.c.offset)
        .limit(batch_events)
    )
    gone = connection.execute(sa.delete(live_event).where(live_event.c.offset.in_(old)))
    return int(gone.rowcount)


def in_memory(url: sa.URL) -> bool:
    """Return whether a SQLite URL is of a database that only one connection can see."""
    if url.get_backend_name() != "sqlite":
        return False
    database = url.database or ":memory:"
    return ":memory:" in database or url.query.get("mode") == "memory"
