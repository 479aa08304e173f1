"""Events that psycopg 3 sends to PostgreSQL together with the COMMIT: one wait instead of two.

An INSERT of its own costs a transaction a turn of the network, of the server and, among many
threads, of the interpreter. So the INSERT waits in the place of the connection's next `commit()`,
which sends both at once (libpq's pipeline mode, PostgreSQL's documentation, 34.5). If the INSERT
fails, the COMMIT is not carried out. Blocking; no Tornado. Imported once psycopg is used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final

import sqlalchemy as sa
from psycopg import OperationalError, pq
from psycopg.errors import error_from_result
from psycopg.waiting import Ready, Wait

from flasknado.live.log import outbox
from flasknado.live.log.tables import Draft

MAX_TOGETHER = 16
"""How many events are sent with the COMMIT; more go before it, as many statements at once."""
_LIBPQ_WITH_PIPELINES: Final = 140000

Take = Callable[[], Sequence[Draft]]


def attach(connection: sa.Connection, take: Take, schema: str | None) -> Callable[[], None] | None:
    """Have the next commit of a connection insert what `take()` returns then.

    Returns what takes that back, and `None` where it cannot be done, as before the transaction has
    begun. `take()` is called on the thread that commits. What the database has against the events,
    `commit()` raises.
    """
    driver: Any = connection.connection.dbapi_connection
    if not _is_ready(driver) or "commit" in vars(driver):
        return None
    driver.commit = functools.partial(_commit, driver, take, connection.dialect, schema)
    return functools.partial(_detach, driver)


def _detach(driver: Any) -> None:
    vars(driver).pop("commit", None)


def _is_ready(driver: Any) -> bool:
    """Return whether statements may be sent together on a connection of psycopg."""
    pgconn = driver.pgconn
    return bool(
        pgconn.transaction_status == pq.TransactionStatus.INTRANS
        and pgconn.pipeline_status == pq.PipelineStatus.OFF
        and pgconn.parameter_status(b"client_encoding") == b"UTF8"
        and pq.version() >= _LIBPQ_WITH_PIPELINES
    )


def _commit(driver: Any, take: Take, dialect: sa.Dialect, schema: str | None) -> None:
    _detach(driver)
    drafts = take()
    if drafts and len(drafts) <= MAX_TOGETHER and _is_ready(driver):
        _commit_together(driver, _statement(dialect, schema), drafts)
    elif drafts:
        with driver.cursor() as cursor:
            rows = [draft._asdict() for draft in drafts]
            cursor.executemany(outbox.insert_statement(dialect, schema), rows)
    driver.commit()


@functools.lru_cache(maxsize=8)
def _statement(dialect: sa.Dialect, schema: str | None) -> bytes:
    """Return the INSERT as libpq takes it, with parameters by number in a draft's order."""
    numbers = {field: f"${n}" for n, field in enumerate(Draft._fields, 1)}
    return (outbox.insert_statement(dialect, schema) % numbers).encode()


def _commit_together(driver: Any, statement: bytes, drafts: Sequence[Draft]) -> None:
    rows = [
        (
            draft.channel.encode(),
            draft.name.encode(),
            draft.data.encode(),
            b"t" if draft.kept else b"f",
            b"t" if draft.buffered else b"f",
        )
        for draft in drafts
    ]
    try:
        with driver.lock:
            failed = driver.wait(_exchange(driver.pgconn, statement, rows))
    except BaseException:
        # Nobody knows what has been carried out, and answers may be on their way.
        driver.close()
        raise
    if failed is not None:
        raise error_from_result(failed)


def _exchange(
    pgconn: Any, statement: bytes, rows: Sequence[tuple[bytes, ...]]
) -> Generator[Any, Any, Any]:
    """Send all and take the answers, for `Connection.wait`; return the first that is an error."""
    pgconn.enter_pipeline_mode()
    for row in rows:
        pgconn.send_query_params(statement, row)
    pgconn.send_query_params(b"COMMIT", None)
    pgconn.pipeline_sync()
    while pgconn.flush():
        if (yield Wait.RW) & Ready.R:
            pgconn.consume_input()
    failed = None
    for _ in range(len(rows) + 1):
        while (result := (yield from _next_result(pgconn))) is not None:
            if result.status == pq.ExecStatus.FATAL_ERROR and failed is None:
                failed = result
    end = yield from _next_result(pgconn)
    if end is not None and end.status == pq.ExecStatus.PIPELINE_SYNC:
        pgconn.exit_pipeline_mode()
    elif failed is None:
        raise OperationalError("the connection was lost during a commit")
    return failed


def _next_result(pgconn: Any) -> Generator[Any, Any, Any]:
    while pgconn.is_busy():
        if (yield Wait.R):
            pgconn.consume_input()
    return pgconn.get_result()
