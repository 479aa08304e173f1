"""Publishing on PostgreSQL: events first, their order after the commit. Blocking; no Tornado.

A transaction that publishes inserts its events into `live_outbox`, last of all, with an id from
a sequence. It takes no lock and sends no NOTIFY: both are global, and held across the disk
sync they would have every commit wait for every other. Afterwards `number()` moves what it
sees into the log, in the order of the ids, under the lock of the log's one row.

Why that order will do: a transaction takes its ids after everything that it has read. If it
has read what another one committed, the other's ids are smaller, and whoever sees its own
events sees those of the other too. So an event never precedes one that its transaction could
have seen.

A call looks only at what has become visible since the last one, by the transaction's id (`xid`):
what has been moved leaves dead rows behind, which a long transaction elsewhere may keep from
being cleaned away for hours.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from flasknado.live.event import Cursor, Event
from flasknado.live.log import tables
from flasknado.live.log.tables import NOTIFY_CHANNEL, Draft, live_outbox

BATCH_EVENTS = 2000
"""How many events get their offsets in one transaction."""
WAKE_CHANNEL = "flasknado_live_outbox"
"""What the sequencer listens to."""
NO_OFFSET = 0
"""The offset of an event that has none yet."""

_INSERT = sa.insert(live_outbox).values(xid=sa.func.txid_current()).inline()
_LAST_ID = sa.text("SELECT currval(pg_get_serial_sequence('live_outbox', 'id'))")

_LOCK = sa.text("SELECT FROM live_log WHERE id = 1 FOR UPDATE")
_NEW = "WHERE xid >= :next_xid OR xid = ANY(CAST(:running AS bigint[]))"
_PENDING = "SELECT EXISTS (SELECT FROM live_outbox {where})"

# One statement, because each one costs two turns of a processor that may be busy elsewhere. What
# is due is joined with the log's row, so that the row is locked before anything is taken. A
# snapshot from before the lock does no harm: what it sees has been moved by whoever had the
# lock, and is then not taken again, or is as good as if it were the newest.
_MOVE = """
WITH log AS MATERIALIZED (
  SELECT epoch, head,
    (SELECT max("offset") FROM live_event) AS event,
    (SELECT max("offset") FROM live_event_1) AS event_1,
    (SELECT max("offset") FROM live_buffered) AS buffered,
    (SELECT max("offset") FROM live_buffered_1) AS buffered_1
  FROM live_log WHERE live_log.id = 1 FOR UPDATE OF live_log
), due AS (
  SELECT live_outbox.id FROM live_outbox, log {where} ORDER BY live_outbox.id LIMIT :limit
), taken AS (
  DELETE FROM live_outbox USING due WHERE live_outbox.id = due.id
  RETURNING live_outbox.id, channel, name, data, kept, live_outbox.buffered
), numbered AS (
  SELECT log.head + row_number() OVER (ORDER BY id) AS "offset", taken.*,
    extract(epoch FROM clock_timestamp()) AS created_at, epoch,
    {event_turn} AS event_turn, {buffered_turn} AS buffered_turn
  FROM taken, log
), {inserts}, moved AS (
  UPDATE live_log SET head = head + (SELECT count(*) FROM numbered)
  WHERE id = 1 AND EXISTS (SELECT FROM numbered)
)
SELECT count(*) AS events, max(id) AS last_id, txid_current_snapshot()::text AS snapshot,
  max("offset") FILTER (WHERE id = :wanted_id) AS wanted_offset,
  max("offset") AS head, max(epoch) AS epoch, (SELECT count(*) FROM due) AS due,
  CASE WHEN count(*) > 0 THEN CAST(pg_notify('{notify_channel}', '') AS text) END AS told
FROM numbered
"""
# Which of two tables is filled: the one that has been emptied, else the one that was last.
_TURN = "(CASE WHEN log.{0} IS NULL OR log.{0} > log.{0}_1 THEN 0 ELSE 1 END)"
_INSERT_NUMBERED = """into_{table} AS (
  INSERT INTO {table} ("offset", channel, name, data, kept, created_at)
  SELECT "offset", channel, name, data, kept, created_at FROM numbered
  WHERE {is_kept} (kept AND NOT buffered) AND {kind}_turn = {turn}
)"""


class Horizon(NamedTuple):
    """What had ended when the outbox was last read to its end (PostgreSQL's snapshot)."""

    next_xid: int
    """No transaction from this one on had ended."""
    running: tuple[int, ...]
    """Those before it that had not."""


class Numbered(NamedTuple):
    """What one call of `number()` did."""

    events: int
    more: bool
    """Whether as many as one call takes were there, so that there may be more."""
    horizon: Horizon | None
    """For the next call; `None` if that has to read all of the outbox."""
    cursor: Cursor | None
    """The log's end, if there were any."""
    last_id: int | None
    wanted_offset: int | None


def write(
    connection: sa.Connection, drafts: Sequence[Draft], schema: str | None = None
) -> list[Event]:
    """Write events in the connection's transaction; it belongs right before the commit.

    `schema` is that of the tables, where the connection does not find them by itself. On SQLite
    events have their offsets then, on PostgreSQL `NO_OFFSET`.
    """
    tables.check_dialect(connection.dialect.name)
    if not drafts:
        return []
    if connection.dialect.name == "sqlite":
        return tables.append(connection, drafts)[1]
    insert(connection, drafts, schema)
    return [Event(NO_OFFSET, *draft[:3]) for draft in drafts]


def insert(connection: sa.Connection, drafts: Sequence[Draft], schema: str | None = None) -> None:
    """Insert events into the outbox, in the connection's transaction."""
    rows = [draft._asdict() for draft in drafts]
    if connection.dialect.paramstyle != "pyformat":
        options = {"schema_translate_map": {None: schema}} if schema is not None else {}
        connection.execute(_INSERT, rows, execution_options=options)
        return
    # Every commit that publishes does this, and SQLAlchemy's own way takes half as long again.
    statement = insert_statement(connection.dialect, schema)
    connection.exec_driver_sql(statement, rows[0] if len(rows) == 1 else rows)


@functools.lru_cache(maxsize=8)
def insert_statement(dialect: sa.Dialect, schema: str | None) -> str:
    """Return the INSERT of a draft as text for a driver that takes parameters by name."""
    table = live_outbox if schema is None else live_outbox.to_metadata(sa.MetaData(schema=schema))
    statement = sa.insert(table).values(xid=sa.func.txid_current()).inline()
    return str(statement.compile(dialect=dialect, column_keys=Draft._fields))


def append(connection: sa.Connection, drafts: Sequence[Draft]) -> Cursor:
    """Append events and return the last one's cursor, in the connection's transaction.

    Everything that was published before goes first, and whoever else appends waits for the
    commit: for programs that have to know their event's place.
    """
    if connection.execute(_LOCK).first() is None:
        tables.create_log(connection)
        connection.execute(_LOCK)
    insert(connection, drafts)
    wanted_id: int = connection.execute(_LAST_ID).scalar_one()
    while True:
        numbered = number(connection, wanted_id=wanted_id)
        if numbered.cursor is not None and numbered.wanted_offset is not None:
            return Cursor(numbered.cursor.epoch, numbered.wanted_offset)


def pending(connection: sa.Connection, horizon: Horizon | None) -> bool:
    """Return whether anything has been published since `horizon`; takes no lock."""
    where, parameters = _since(horizon)
    statement = sa.text(_PENDING.format(where=where))
    return bool(connection.execute(statement, parameters).scalar_one())


def oldest(connection: sa.Connection) -> int | None:
    """Return the smallest id in the outbox."""
    return connection.execute(
        sa.select(live_outbox.c.id).order_by(live_outbox.c.id).limit(1)
    ).scalar_one_or_none()


def number(
    connection: sa.Connection,
    horizon: Horizon | None = None,
    *,
    limit: int = BATCH_EVENTS,
    wanted_id: int | None = None,
) -> Numbered:
    """Give offsets to what has been published, in the connection's transaction.

    Any number of processes may do it: they wait for each other at the log's row. A horizon is
    good only for whoever got it. `wanted_id` is an outbox id whose offset is returned.
    """
    where, parameters = _since(horizon)
    parameters.update(limit=limit, wanted_id=wanted_id)
    moved = connection.execute(_move_statement(where), parameters).one()
    if not moved.events and tables.read_head(connection) is None:
        tables.create_log(connection)
        return number(connection, horizon, limit=limit, wanted_id=wanted_id)
    more = moved.due >= limit
    return Numbered(
        moved.events,
        more,
        None if more else _horizon(moved.snapshot),
        Cursor(moved.epoch, moved.head) if moved.events else None,
        moved.last_id,
        moved.wanted_offset,
    )


@functools.cache
def _move_statement(where: str) -> sa.TextClause:
    inserts = [
        _INSERT_NUMBERED.format(
            table=f"live_{kind}{'_1' if turn else ''}", kind=kind, turn=turn, is_kept=is_kept
        )
        for kind, is_kept in (("event", ""), ("buffered", "NOT"))
        for turn in (0, 1)
    ]
    return sa.text(
        _MOVE.format(
            where=where,
            event_turn=_TURN.format("event"),
            buffered_turn=_TURN.format("buffered"),
            inserts=", ".join(inserts),
            notify_channel=NOTIFY_CHANNEL,
        )
    )


def wake(connection: sa.Connection) -> None:
    """Tell the sequencer, wherever it is, that something has been published."""
    connection.exec_driver_sql(f"NOTIFY {WAKE_CHANNEL}")


def _since(horizon: Horizon | None) -> tuple[str, dict[str, Any]]:
    if horizon is None:
        return "", {}
    return _NEW, {"next_xid": horizon.next_xid, "running": list(horizon.running)}


def _horizon(snapshot: str) -> Horizon:
    """Read PostgreSQL's text of a snapshot, `xmin:xmax:xid,xid`."""
    _, next_xid, running = snapshot.split(":")
    return Horizon(int(next_xid), tuple(map(int, running.split(","))) if running else ())
