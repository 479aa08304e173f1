"""SQLite's transactions as Python's driver has them. Blocking; no Tornado.

By default the driver begins a transaction only before an INSERT, UPDATE, DELETE or REPLACE, so
that whoever only reads locks nothing. SQLAlchemy documents two other modes: `autocommit=False`
(Python 3.12), and an application's own `begin` event that says BEGIN.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import event as sa_event

_LEGACY = -1
"""`sqlite3.LEGACY_TRANSACTION_CONTROL`, of Python 3.12."""


def driver_of(connection: sa.Connection) -> Any:
    """Return the driver's own connection."""
    return connection.connection.dbapi_connection


def begins_before_writes(driver: Any) -> bool:
    """Return whether it is the driver that begins transactions, before it writes."""
    autocommit = getattr(driver, "autocommit", _LEGACY)
    return autocommit == _LEGACY and driver.isolation_level is not None


def commit_each_statement(driver: Any) -> None:
    """Have the driver begin nothing by itself any more."""
    if getattr(driver, "autocommit", _LEGACY) != _LEGACY:
        driver.autocommit = True
    else:
        driver.isolation_level = None


def begin_before_savepoints(target: sa.Engine | sa.Connection) -> None:
    """Have a transaction begin before its first savepoint, where the driver does not see to it.

    Else the savepoint would be the transaction, and its release a commit.
    """
    sa_event.listen(target, "savepoint", _before_savepoint)


def _before_savepoint(connection: sa.Connection, name: str) -> None:  # noqa: ARG001
    driver = driver_of(connection)
    if not driver.in_transaction and begins_before_writes(driver):
        driver.execute("BEGIN")
