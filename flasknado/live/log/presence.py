"""Who is on a channel, over all workers and machines: the tables and every statement on them.

Each worker has one row that says that it lives, and one for each user (nobody is `""`) that
it holds on a channel that is watched. It writes what changed once in a while, together.
Rows of a worker that has said nothing for a while count no more, and whoever notices first
deletes them; a worker whose rows were deleted writes them all again. Blocking; no Tornado.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from flasknado.live.event import MAX_NAME_CHARS
from flasknado.live.log.tables import database_now, metadata

MAX_USER_CHARS = 255
WRITE_INTERVAL_S = 0.5
"""How long changes are gathered before they are written."""
BEAT_INTERVAL_S = 5.0
LOST_AFTER_S = 15.0
"""After how long without a beat a worker counts as gone."""
SUFFIX = "!presence"
"""What the channel of a channel's presence events ends with; no subscriber can name it."""

Key = tuple[str, str]
"""A channel and a user."""

live_worker = sa.Table(
    "live_worker",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("seen_at", sa.Double, nullable=False),
)

live_presence = sa.Table(
    "live_presence",
    metadata,
    sa.Column("channel", sa.String(MAX_NAME_CHARS), primary_key=True),
    sa.Column("worker_id", sa.String(32), primary_key=True),
    sa.Column("user_id", sa.String(MAX_USER_CHARS), primary_key=True),
    sa.Column("connections", sa.Integer, nullable=False),
    sa.Index("ix_live_presence_worker_id", "worker_id"),
)

_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


@dataclasses.dataclass(frozen=True, slots=True)
class Presence:
    """Who is on a channel."""

    users: dict[str, int]
    """The users there, each with its connections."""
    anonymous: int
    """The connections of nobody in particular."""

    @property
    def count(self) -> int:
        """How many users and anonymous clients; a user with several connections counts once."""
        return len(self.users) + self.anonymous


def presence_of(connections: Mapping[str, int]) -> Presence:
    """Return who is there from connections by user, nobody among them."""
    users = {user: n for user, n in connections.items() if user}
    return Presence(users, connections.get("", 0))


class Seen(NamedTuple):
    """What a worker's round found."""

    known: bool
    """Whether its rows were still there; if not, all have to be written again."""
    lost: set[str]
    """The channels of workers that were found gone."""


def see(connection: sa.Connection, worker: str, changes: Mapping[Key, int]) -> Seen:
    """Say that a worker lives, write its changed counts, and clear away who is gone.

    In the connection's transaction. Nothing waits for long: each row is one worker's own.
    """
    now = database_now(connection)
    beaten = connection.execute(
        sa.update(live_worker).where(live_worker.c.id == worker).values(seen_at=now)
    )
    known = bool(beaten.rowcount)
    if not known:
        connection.execute(sa.insert(live_worker).values(id=worker, seen_at=now))
    for (channel, user), connections in changes.items():
        _write(connection, worker, channel, user, connections)
    return Seen(known, _clear(connection, now))


def forget(connection: sa.Connection, workers: Sequence[str]) -> set[str]:
    """Delete workers and return the channels that they had somebody on."""
    theirs = live_presence.c.worker_id.in_(workers)
    channels = set(connection.scalars(sa.select(live_presence.c.channel).where(theirs)))
    # In the order of `see()`: a worker that writes meanwhile waits, and is no deadlock.
    connection.execute(sa.delete(live_worker).where(live_worker.c.id.in_(workers)))
    connection.execute(sa.delete(live_presence).where(theirs))
    return channels


def read(connection: sa.Connection, channel: str) -> Presence:
    """Return who is on a channel now."""
    living = live_worker.c.seen_at >= database_now(connection) - LOST_AFTER_S
    rows = connection.execute(
        sa.select(live_presence.c.user_id, sa.func.sum(live_presence.c.connections))
        .join(live_worker, live_worker.c.id == live_presence.c.worker_id)
        .where(live_presence.c.channel == channel, living)
        .group_by(live_presence.c.user_id)
    )
    return presence_of({user: int(connections or 0) for user, connections in rows})


def _write(
    connection: sa.Connection, worker: str, channel: str, user: str, connections: int
) -> None:
    table = live_presence
    if not connections:
        connection.execute(
            sa.delete(table).where(
                table.c.channel == channel, table.c.worker_id == worker, table.c.user_id == user
            )
        )
        return
    row = {"channel": channel, "worker_id": worker, "user_id": user, "connections": connections}
    insert = _INSERTS[connection.dialect.name](table).values(row)
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=[table.c.channel, table.c.worker_id, table.c.user_id],
            set_={"connections": connections},
        )
    )


def _clear(connection: sa.Connection, now: Any) -> set[str]:
    gone = list(
        connection.scalars(
            sa.select(live_worker.c.id)
            .where(live_worker.c.seen_at < now - LOST_AFTER_S)
            # One that is locked lives, or is being cleared away by somebody else.
            .with_for_update(skip_locked=True)
        )
    )
    return forget(connection, gone) if gone else set()
