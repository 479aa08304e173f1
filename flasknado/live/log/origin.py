"""Noticing that PostgreSQL's history has forked: a fail-over, or a restored server.

A standby that is promoted may lack the last transactions of the former server. The log then
ends earlier, and may have grown past a client's cursor before anybody looks, with other events
below it. So the log's second row has in `epoch` the server's identity and its timeline
(PostgreSQL's documentation, 26.3.5); where they differ from the server's, the log gets a new
epoch, and every client a reset.

A row, and not a column: an earlier version's table has none. A connection does not outlive its
server, so once for each connection is enough.
"""

from __future__ import annotations

import logging

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from flasknado.live.log.tables import live_log, new_epoch

log = logging.getLogger("flasknado.live")

ROW = 2
_CHECKED = "flasknado.live.origin"

_ORIGIN = sa.text(
    "SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE system_identifier || '.' ||"
    " left(pg_walfile_name(pg_current_wal_lsn()), 8) END FROM pg_control_system()"
)
_MOVED = (
    sa.update(live_log)
    .where(live_log.c.id == ROW, live_log.c.epoch != sa.bindparam("origin"))
    .values(epoch=sa.bindparam("origin"))
    .returning(live_log.c.id)
    .cte("moved")
)
_RENEW = (
    sa.update(live_log)
    .where(live_log.c.id == 1, sa.exists(sa.select(_MOVED.c.id)))
    .values(epoch=sa.bindparam("new_epoch"))
    .returning(live_log.c.id)
    .add_cte(_MOVED)
)
_NOTE = (
    postgresql.insert(live_log)
    .values(id=ROW, epoch=sa.bindparam("origin"), head=0, floor=0)
    .on_conflict_do_nothing()
)


def is_checked(connection: sa.Connection) -> bool:
    """Return whether there is nothing to check, or this connection has been."""
    return connection.dialect.name != "postgresql" or _CHECKED in connection.info


def check(connection: sa.Connection) -> None:
    """Name the log anew if it comes from another server or timeline than this one.

    On a connection that commits each statement by itself.
    """
    if is_checked(connection):
        return
    origin = _origin(connection)
    if origin is not None:
        if connection.execute(_RENEW, {"origin": origin, "new_epoch": new_epoch()}).first():
            log.warning(
                "the database is another server's, or its history has forked (a fail-over, or a "
                "restored backup): subscribers are told to reset"
            )
        connection.execute(_NOTE, {"origin": origin})
    connection.info[_CHECKED] = True


def _origin(connection: sa.Connection) -> str | None:
    """Return the server's identity and timeline, or `None` where it does not say."""
    try:
        origin: str | None = connection.execute(_ORIGIN).scalar_one()
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise
        log.info("a fail-over of the database cannot be told apart: %s", error.orig)
        return None
    return origin
