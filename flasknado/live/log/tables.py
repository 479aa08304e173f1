"""The log's tables, and reading them. Blocking; no Tornado.

`live_log` is one row: the epoch, which names this log; the head, the last offset given out;
and the floor, the last offset that was pruned. `live_event` holds the kept events, and
`live_buffered` those of minutes: buffered events, and signals (`kept` false), which only
followers of all channels see. Offsets rise by one over both.

On SQLite a transaction that publishes advances the head itself; the database has one writer,
so offsets rise in commit order. On PostgreSQL it writes into `live_outbox`, and offsets are
given after the commit (`flasknado.live.log.outbox`). There each table of events has a second one,
`..._1`: they are filled in turns, so that retention empties a whole table at once
(`flasknado.live.log.retention`). On SQLite those and the outbox stay empty.
"""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from flasknado.errors import ConfigurationError
from flasknado.live.event import MAX_NAME_CHARS, MAX_OFFSET, Cursor, Event, is_pattern

SPAN_EVENTS = 5000
"""How many offsets one read looks at, so that none keeps the reader for long."""

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


def _table_of_events(name: str, *indexes: sa.Index) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column("offset", _Offset, primary_key=True, autoincrement=False),
        sa.Column("channel", sa.String(MAX_NAME_CHARS), nullable=False),
        sa.Column("name", sa.String(MAX_NAME_CHARS), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("kept", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Index(f"ix_{name}_channel_offset", "channel", "offset"),
        *indexes,
    )


live_event = _table_of_events("live_event")
live_event_1 = _table_of_events("live_event_1")
live_buffered = _table_of_events(
    "live_buffered",
    sa.Index(
        "ix_live_buffered_signal",
        "offset",
        sqlite_where=sa.text("NOT kept"),
        postgresql_where=sa.text("NOT kept"),
    ),
)
live_buffered_1 = _table_of_events("live_buffered_1")

live_outbox = sa.Table(
    "live_outbox",
    metadata,
    # On PostgreSQL from a sequence that no session takes numbers from in advance (CACHE 1):
    # that is what the order of events rests on.
    sa.Column("id", _Offset, primary_key=True, autoincrement=True),
    sa.Column("xid", sa.BigInteger, nullable=False),
    sa.Column("channel", sa.String(MAX_NAME_CHARS), nullable=False),
    sa.Column("name", sa.String(MAX_NAME_CHARS), nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("kept", sa.Boolean, nullable=False),
    sa.Column("buffered", sa.Boolean, nullable=False),
    sa.Index("ix_live_outbox_xid", "xid"),
)

KEPT_TABLES: dict[str, tuple[sa.Table, ...]] = {
    "sqlite": (live_event,),
    "postgresql": (live_event, live_event_1),
}
BUFFERED_TABLES: dict[str, tuple[sa.Table, ...]] = {
    "sqlite": (live_buffered,),
    "postgresql": (live_buffered, live_buffered_1),
}

_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
ONLY_ROW = live_log.c.id == 1

GONE = ""
"""The name, which no event can have, of the row that stands for a channel's buffered events up
to its offset when they have been pruned."""

_ADVANCE = (
    sa.update(live_log)
    .where(ONLY_ROW)
    .values(head=live_log.c.head + sa.bindparam("count"))
    .returning(live_log.c.epoch, live_log.c.head)
)
_HEAD = sa.select(live_log.c.epoch, live_log.c.head).where(ONLY_ROW)
_BOUNDS = sa.select(live_log.c.epoch, live_log.c.head, live_log.c.floor).where(ONLY_ROW)


def _read_statement(
    dialect_name: str, *, all_channels: bool, patterns: tuple[str, ...] = ()
) -> sa.Select[Any]:
    """Return the read of bounds and events as one statement, so that both are of one moment."""
    branches = []
    for table in (*KEPT_TABLES[dialect_name], *BUFFERED_TABLES[dialect_name]):
        branch = sa.select(table.c.offset, table.c.channel, table.c.name, table.c.data).where(
            table.c.offset > sa.bindparam("after"), table.c.offset <= sa.bindparam("until")
        )
        if not all_channels:
            channels: Any = sa.bindparam("channels", expanding=True)
            # Not LIKE, which SQLite takes without regard to case.
            among = [
                (sa.func.substr(table.c.channel, 1, len(pattern) - 1) == pattern[:-1])
                & (sa.func.substr(table.c.channel, len(pattern)).not_like("%!%"))
                for pattern in patterns
            ]
            branch = branch.where(
                sa.or_(table.c.channel.in_(channels), *among), table.c.kept.is_(sa.true())
            )
        # Bounded in each branch: SQLite would read all of it before it puts them together.
        branch = branch.order_by(table.c.offset).limit(_ROW_LIMIT)
        branches.append(sa.select(branch.subquery()))
    event = sa.union_all(*branches).subquery()
    return (
        sa.select(live_log.c.epoch, live_log.c.head, live_log.c.floor, *event.c)
        .select_from(live_log.outerjoin(event, sa.true()))
        .where(ONLY_ROW)
        .order_by(event.c.offset)
        .limit(_ROW_LIMIT)
    )


_ROW_LIMIT = sa.bindparam("row_limit", type_=sa.Integer)
_READ_ALL = {name: _read_statement(name, all_channels=True) for name in KEPT_TABLES}


@functools.lru_cache(maxsize=64)
def _read_channels(dialect_name: str, patterns: tuple[str, ...]) -> sa.Select[Any]:
    return _read_statement(dialect_name, all_channels=False, patterns=patterns)


class Draft(NamedTuple):
    """An event that is not committed yet, so it has no offset."""

    channel: str
    name: str
    data: str
    kept: bool = True
    """False for a signal: delivered to who is there, and never replayed."""
    buffered: bool = False
    """Whether it is replayed for minutes only (`flasknado.live.log.buffered`)."""


class DraftWith(Draft):
    """A buffered draft that is appended if `goes_with(connection)` is true in its transaction."""

    goes_with: Callable[[sa.Connection], bool]


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
            f"live events need SQLite or PostgreSQL, and this database is "
            f"{dialect_name}: use one of these"
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
        .where(ONLY_ROW, live_log.c.epoch == followed.epoch, live_log.c.head < followed.offset)
        .values(epoch=new_epoch())
    )


def read_head(connection: sa.Connection, schema: str | None = None) -> Cursor | None:
    """Return the log's present end, or `None` if the log has not been created."""
    options = {"schema_translate_map": {None: schema}} if schema is not None else {}
    row = connection.execute(_HEAD, execution_options=options).one_or_none()
    return None if row is None else Cursor(row.epoch, row.head)


def lock_log(connection: sa.Connection) -> None:
    """Have the connection's transaction be the one that may write, on SQLite."""
    connection.execute(_ADVANCE, {"count": 0})


def append(connection: sa.Connection, drafts: Sequence[Draft]) -> tuple[str, list[Event]]:
    """Append events in the connection's transaction, on SQLite; return the epoch and the events.

    From here to its end the transaction keeps every other writer waiting, so this belongs
    right before the commit.
    """
    row = connection.execute(_ADVANCE, {"count": len(drafts)}).one_or_none()
    if row is None:
        create_log(connection)
        row = connection.execute(_ADVANCE, {"count": len(drafts)}).one()
    first = row.head - len(drafts) + 1
    created_at = time.time()
    rows: dict[sa.Table, list[dict[str, Any]]] = {}
    for n, draft in enumerate(drafts):
        table = live_event if draft.kept and not draft.buffered else live_buffered
        said = draft._asdict()
        del said["buffered"]
        rows.setdefault(table, []).append({**said, "offset": first + n, "created_at": created_at})
    for table, its_rows in rows.items():
        connection.execute(sa.insert(table), its_rows)
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
    """Return the events after an offset, of these channels (and patterns) or of all, oldest first.

    At most `limit_events`, no more once they have `limit_bytes` (counted as characters),
    and none beyond `SPAN_EVENTS` offsets; `complete_to` says how far that goes. Where buffered
    events among them have been pruned, `oldest` is after those. Raises
    `sqlalchemy.exc.NoResultFound` if the log has not been created.
    """
    until = min(after + SPAN_EVENTS, MAX_OFFSET)
    parameters: dict[str, Any] = {"after": after, "until": until, "row_limit": limit_events + 1}
    dialect_name = connection.dialect.name
    if channels is None:
        result = connection.execute(_READ_ALL[dialect_name], parameters)
    else:
        patterns = tuple(sorted(channel for channel in channels if is_pattern(channel)))
        parameters["channels"] = [channel for channel in channels if not is_pattern(channel)]
        result = connection.execute(_read_channels(dialect_name, patterns), parameters)
    events: list[Event] = []
    gone = 0
    size_bytes = 0
    cut = False
    row: Any = None
    with result:
        for row in result:
            if row.offset is None:
                break
            if row.name == GONE:
                gone = row.offset
                continue
            if len(events) == limit_events or size_bytes >= limit_bytes:
                cut = True
                break
            events.append(Event(row.offset, row.channel, row.name, row.data))
            size_bytes += len(row.data)
    if row is None:
        raise sa.exc.NoResultFound("live_log has no row")
    complete_to = events[-1].offset if cut else min(row.head, until)
    return Batch(row.epoch, row.head, max(row.floor, gone) + 1, events, complete_to)


def read_newest(connection: sa.Connection, channel: str, limit_events: int) -> list[Event]:
    """Return the newest events of a channel, at most so many and no signals, oldest first."""
    dialect_name = connection.dialect.name
    wanted = [
        sa.select(table.c.offset, table.c.channel, table.c.name, table.c.data)
        .where(table.c.channel == channel, table.c.name != GONE, table.c.kept.is_(sa.true()))
        .order_by(table.c.offset.desc())
        .limit(limit_events)
        .subquery()
        for table in (*KEPT_TABLES[dialect_name], *BUFFERED_TABLES[dialect_name])
    ]
    newest = sa.union_all(*(sa.select(one) for one in wanted)).order_by(sa.desc("offset"))
    rows = connection.execute(newest.limit(limit_events))
    return [Event(*row) for row in rows][::-1]


def database_now(connection: sa.Connection) -> Any:
    """Return the time as the database has it, because the clocks of machines differ."""
    if connection.dialect.name == "postgresql":
        return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double)
    return sa.literal(time.time(), sa.Double)


def in_memory(url: sa.URL) -> bool:
    """Return whether a SQLite URL is of a database that only one connection can see."""
    if url.get_backend_name() != "sqlite":
        return False
    database = url.database or ":memory:"
    return ":memory:" in database or url.query.get("mode") == "memory"
