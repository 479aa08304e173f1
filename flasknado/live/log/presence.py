"""Who is on a channel, over all workers and machines: the tables and every statement on them.

Each worker has one row that says that it lives, and one for each user (nobody is `""`) that
it holds on a channel that is watched. It writes what changed once in a while, together.
Rows of a worker that has said nothing for a while count no more, and whoever notices first
deletes them; a worker whose rows were deleted writes them all again.

The roster is who has been told to be there. A user joins when a worker can insert the row, and
leaves when one deletes it because no living worker has the user on the channel any more: of
several workers that see it, one is the first, so each change is told once. Blocking; no Tornado.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from flasknado.live.event import MAX_NAME_CHARS
from flasknado.live.log.tables import database_now, metadata

MAX_USER_CHARS = 255
WRITE_INTERVAL_S = 0.4
"""How long changes are gathered before they are written; half a second is promised."""
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

live_roster = sa.Table(
    "live_roster",
    metadata,
    sa.Column("channel", sa.String(MAX_NAME_CHARS), primary_key=True),
    sa.Column("user_id", sa.String(MAX_USER_CHARS), primary_key=True),
    sa.Column("info", sa.Text, nullable=True),
)

_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


@dataclasses.dataclass(frozen=True, slots=True)
class Presence:
    """Who is on a channel."""

    users: dict[str, int]
    """The users there, each with its connections."""
    anonymous: int
    """The connections of nobody in particular."""
    info: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """What the users' `Identity` has as `info`, of those that have some."""

    @property
    def count(self) -> int:
        """How many users and anonymous clients; a user with several connections counts once."""
        return len(self.users) + self.anonymous


class Change(NamedTuple):
    """Somebody who joined a channel or left it, or who joins with other information."""

    channel: str
    user: str
    info: str | None
    """As JSON text."""
    kind: str = "join"
    """`join`, `update` or `leave`."""


def presence_of(
    connections: Mapping[str, int], info: Mapping[str, str | None] | None = None
) -> Presence:
    """Return who is there from connections by user, nobody among them."""
    users = {user: n for user, n in connections.items() if user}
    known = {user: json.loads(text) for user, text in (info or {}).items() if text and user}
    return Presence(users, connections.get("", 0), known)


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
    there = live_presence.c
    same = (live_roster.c.channel == there.channel) & (live_roster.c.user_id == there.user_id)
    rows = connection.execute(
        sa.select(there.user_id, sa.func.sum(there.connections), live_roster.c.info)
        .join(live_worker, live_worker.c.id == there.worker_id)
        .outerjoin(live_roster, same)
        .where(there.channel == channel, living)
        .group_by(there.user_id, live_roster.c.info)
    ).all()
    connections = {user: int(count or 0) for user, count, _ in rows}
    return presence_of(connections, {user: info for user, _, info in rows})


def announce(
    connection: sa.Connection,
    changes: Mapping[Key, str | None],
    gone: Collection[Key],
) -> list[Change]:
    """Bring the roster up to date; return what was changed by it, which is to be told.

    changes: users that this worker has on a channel, with their information. gone: users that
    it has there no more. In the connection's transaction, which begins after that of `see()`
    has ended: then of two workers the later one finds the other's rows.
    """
    told: list[Change] = []
    for channel, user in sorted({*changes, *gone}):
        if not user:
            continue
        if (channel, user) in changes:
            told += _join(connection, channel, user, changes[channel, user])
        else:
            told += _leave(connection, channel, user)
    return told


class Strays(NamedTuple):
    """What the roster has wrong, as after a crash."""

    missing: Sequence[Key]
    """Who this worker has, and the roster has not."""
    absent: Sequence[Key]
    """Who is on the roster, and on no living worker."""


def strays(connection: sa.Connection, worker: str, limit: int) -> Strays:
    """Return some of what the roster has wrong."""
    there = live_presence.c
    listed = sa.exists().where(
        live_roster.c.channel == there.channel, live_roster.c.user_id == there.user_id
    )
    missing = connection.execute(
        sa.select(there.channel, there.user_id)
        .where(there.worker_id == worker, there.user_id != "", ~listed)
        .limit(limit)
    )
    absent = connection.execute(
        sa.select(live_roster.c.channel, live_roster.c.user_id)
        .where(~_present(connection, live_roster.c.channel, live_roster.c.user_id))
        .limit(limit)
    )
    return Strays([tuple(row) for row in missing], [tuple(row) for row in absent])


def _join(connection: sa.Connection, channel: str, user: str, info: str | None) -> list[Change]:
    insert = _INSERTS[connection.dialect.name](live_roster)
    row = {"channel": channel, "user_id": user, "info": info}
    added = connection.execute(
        insert.values(row).on_conflict_do_nothing().returning(live_roster.c.user_id)
    ).all()
    if added:
        return [Change(channel, user, info)]
    theirs = (live_roster.c.channel == channel) & (live_roster.c.user_id == user)
    updated = connection.execute(
        sa.update(live_roster)
        .where(theirs, live_roster.c.info.is_distinct_from(info))
        .values(info=info)
    )
    return [Change(channel, user, info, "update")] if updated.rowcount else []


def _leave(connection: sa.Connection, channel: str, user: str) -> list[Change]:
    theirs = (live_roster.c.channel == channel) & (live_roster.c.user_id == user)
    rows = connection.execute(
        sa.delete(live_roster)
        .where(theirs, ~_present(connection, channel, user))
        .returning(live_roster.c.info)
    )
    return [Change(channel, user, info, "leave") for (info,) in rows]


def _present(connection: sa.Connection, channel: Any, user: Any) -> sa.Exists:
    """Return whether a living worker has a user on a channel."""
    return (
        sa.select(sa.literal(1))
        .select_from(live_presence.join(live_worker, live_worker.c.id == live_presence.c.worker_id))
        .where(
            live_presence.c.channel == channel,
            live_presence.c.user_id == user,
            live_worker.c.seen_at >= database_now(connection) - LOST_AFTER_S,
        )
        .exists()
    )


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
