"""The table of runs, and every statement on it. Blocking; no Tornado.

A run has a row from its beginning on, so that its end is told even if the process that runs it is
killed: that process says every few seconds that it lives (`seen_at`), and whoever finds a row that
runs and has not been seen for long takes the run for interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import sqlalchemy as sa

from flasknado.live.event import MAX_NAME_CHARS
from flasknado.live.log.presence import MAX_USER_CHARS
from flasknado.live.log.tables import database_now, metadata

RUNNING = "running"

live_run = sa.Table(
    "live_run",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("channel", sa.String(MAX_NAME_CHARS), nullable=False),
    sa.Column("user_id", sa.String(MAX_USER_CHARS)),
    sa.Column("worker_id", sa.String(32), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("stopping", sa.Boolean, nullable=False),
    sa.Column("cursor", sa.String(64), nullable=False),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("seen_at", sa.Double, nullable=False),
    sa.Index("ix_live_run_channel", "channel", "started_at"),
    sa.Index("ix_live_run_seen", "state", "seen_at"),
)


class Run(NamedTuple):
    """A run, as it was when it was asked for."""

    id: str
    channel: str
    user: str | None
    """Who started it, by `@live.identity`."""
    state: str
    """`running`, `finished`, `failed`, `cancelled` or `interrupted`."""
    cursor: str
    """Where its events begin: follow the channel from here to get all of them."""
    started_at: float
    """In seconds of `time.time`, by the database's clock."""


_SHOWN = (
    live_run.c.id,
    live_run.c.channel,
    live_run.c.user_id,
    live_run.c.state,
    live_run.c.cursor,
    live_run.c.started_at,
)
_RUNS = live_run.c.state == RUNNING


def insert(
    connection: sa.Connection, run: str, channel: str, user: str | None, worker: str, cursor: str
) -> None:
    """Note that a run begins."""
    now = database_now(connection)
    connection.execute(
        sa.insert(live_run).values(
            id=run,
            channel=channel,
            user_id=user,
            worker_id=worker,
            state=RUNNING,
            stopping=False,
            cursor=cursor,
            started_at=now,
            seen_at=now,
        )
    )


def end(run: str, state: str) -> Callable[[sa.Connection], bool]:
    """Return what notes in a transaction that a run has ended, and returns whether it ran."""
    statement = sa.update(live_run).where(live_run.c.id == run, _RUNS).values(state=state)

    def end_it(connection: sa.Connection) -> bool:
        return bool(connection.execute(statement.values(seen_at=database_now(connection))).rowcount)

    return end_it


def beat(connection: sa.Connection, worker: str) -> dict[str, bool]:
    """Note that a worker lives; return its runs, and whether each is to be stopped."""
    mine = (live_run.c.worker_id == worker, _RUNS)
    connection.execute(sa.update(live_run).where(*mine).values(seen_at=database_now(connection)))
    rows = connection.execute(sa.select(live_run.c.id, live_run.c.stopping).where(*mine))
    return {row.id: row.stopping for row in rows}


def stop(connection: sa.Connection, run: str) -> bool:
    """Note that a run is to be stopped; return whether it runs."""
    statement = sa.update(live_run).where(live_run.c.id == run, _RUNS).values(stopping=True)
    return bool(connection.execute(statement).rowcount)


def get(connection: sa.Connection, run: str) -> Run | None:
    """Return a run."""
    row = connection.execute(sa.select(*_SHOWN).where(live_run.c.id == run)).one_or_none()
    return None if row is None else Run(*row)


def newest(connection: sa.Connection, channel: str, limit: int) -> list[Run]:
    """Return the newest runs of a channel, the newest first."""
    rows = connection.execute(
        sa.select(*_SHOWN)
        .where(live_run.c.channel == channel)
        .order_by(live_run.c.started_at.desc(), live_run.c.id)
        .limit(limit)
    )
    return [Run(*row) for row in rows]


def unseen(connection: sa.Connection, lost_after_s: float, limit: int) -> list[Run]:
    """Return runs whose process has said nothing for so long."""
    before: Any = database_now(connection) - lost_after_s
    rows = connection.execute(
        sa.select(*_SHOWN).where(_RUNS, live_run.c.seen_at < before).limit(limit)
    )
    return [Run(*row) for row in rows]


def expired(connection: sa.Connection, kept_s: float) -> bool:
    """Return whether `prune()` would find something."""
    found = sa.select(live_run.c.id).where(*_ended_before(connection, kept_s)).limit(1)
    return connection.execute(found).first() is not None


def prune(connection: sa.Connection, kept_s: float) -> None:
    """Delete the runs that ended so long ago."""
    connection.execute(sa.delete(live_run).where(*_ended_before(connection, kept_s)))


def _ended_before(connection: sa.Connection, kept_s: float) -> tuple[Any, Any]:
    return ~_RUNS, live_run.c.seen_at < database_now(connection) - kept_s
