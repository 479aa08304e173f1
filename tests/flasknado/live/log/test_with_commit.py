"""Events that go to PostgreSQL together with the COMMIT, and what becomes of them otherwise."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from flasknado.live.log.with_commit import MAX_TOGETHER
from tests.flasknado.live.helpers import LiveApp


@pytest.fixture
def context(make: Callable[..., LiveApp]) -> Iterator[LiveApp]:
    live_app = make("postgresql")
    with live_app.app.app_context():
        yield live_app


@pytest.fixture
def statements(context: LiveApp) -> Iterator[list[str]]:
    """What SQLAlchemy has executed."""
    executed: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        executed.append(statement.partition("(")[0])

    engine = context.engine()
    sa.event.listen(engine, "before_cursor_execute", note)
    yield executed
    sa.event.remove(engine, "before_cursor_execute", note)


def published(context: LiveApp) -> list[str]:
    """Return the names of the events of committed transactions, in their order."""
    context.settle()
    query = 'SELECT name FROM live_event ORDER BY "offset"'
    with context.engine().connect() as connection:
        return list(connection.execute(sa.text(query)).scalars())


def write(context: LiveApp, *names: str) -> Session:
    """Add a row to the session's transaction, and publish events."""
    session: Session = context.db.session()
    session.add(context.Note(text="row"))
    session.flush()
    for name in names:
        context.live.publish("a", name, {"é": "'\\"})
    return session


def rows(context: LiveApp) -> int:
    return int(context.db.session.query(context.Note).count())


def test_events_are_sent_with_the_commit_and_have_its_transaction(
    context: LiveApp, statements: list[str]
) -> None:
    session = write(context, "first", "second")
    own = session.scalar(sa.text("SELECT txid_current()"))
    session.commit()
    assert not any("live_outbox" in statement for statement in statements)
    query = "SELECT xid, name, data, kept, buffered FROM live_outbox ORDER BY id"
    with context.engine().connect() as connection:
        found = connection.execute(sa.text(query)).all()
    data = '{"é":"\'\\\\"}'
    assert found == [(own, "first", data, True, False), (own, "second", data, True, False)]


def test_more_events_than_are_sent_together_keep_their_order(context: LiveApp) -> None:
    names = [str(number) for number in range(MAX_TOGETHER + 1)]
    write(context, *names).commit()
    assert published(context) == names


def test_events_published_after_ours_in_before_commit_go_along_unless_rolled_back(
    context: LiveApp,
) -> None:
    session = write(context, "first")

    def publish_more(_session: Session) -> None:
        if session.in_nested_transaction():
            return
        context.live.publish("a", "second")
        with session.begin_nested():
            context.live.publish("a", "third")
        nested = session.begin_nested()
        context.live.publish("a", "never")
        nested.rollback()

    sa.event.listen(session, "before_commit", publish_more)
    session.commit()
    assert published(context) == ["first", "second", "third"]


def test_commit_that_is_given_up_leaves_nothing_for_the_next_one(context: LiveApp) -> None:
    session = write(context, "never")

    def refuse(_session: Session) -> None:
        raise LookupError("not this one")

    sa.event.listen(session, "before_commit", refuse)
    with pytest.raises(LookupError):
        session.commit()
    session.rollback()
    sa.event.remove(session, "before_commit", refuse)
    write(context).commit()  # on the same connection of the pool
    assert (published(context), rows(context)) == ([], 1)


def test_session_that_is_dropped_in_its_commit_lets_its_connection_go(context: LiveApp) -> None:
    engine = context.engine()
    session = Session(engine)
    context.live.publish("a", "never", session=session)
    session.execute(sa.text("SELECT 1"))

    def refuse(_session: Session) -> None:
        raise LookupError("not this one")

    sa.event.listen(session, "before_commit", refuse)
    with contextlib.suppress(LookupError):
        session.commit()
    del session
    gc.collect()
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    write(context).commit()
    assert published(context) == []


@pytest.mark.parametrize("count", [1, MAX_TOGETHER + 1])
def test_events_that_cannot_be_written_leave_the_transaction_uncommitted(
    context: LiveApp, count: int
) -> None:
    session = write(context, *["never"] * count)
    session.execute(sa.text("ALTER TABLE live_outbox RENAME TO elsewhere"))
    with pytest.raises(sa.exc.ProgrammingError, match='"live_outbox" does not exist'):
        session.commit()
    session.rollback()
    write(context, "next").commit()
    assert (published(context), rows(context)) == (["next"], 1)


def test_commit_that_the_database_refuses_raises_what_it_says(context: LiveApp) -> None:
    session = write(context, "never")
    session.execute(sa.text("CREATE TEMP TABLE once (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
    session.execute(sa.text("INSERT INTO once VALUES (1), (1)"))
    with pytest.raises(sa.exc.IntegrityError, match="duplicate key"):
        session.commit()
    session.rollback()
    assert (published(context), rows(context)) == ([], 0)


def test_connection_that_is_lost_before_the_commit_is_replaced(context: LiveApp) -> None:
    session = write(context, "never")
    pid = session.scalar(sa.text("SELECT pg_backend_pid()"))
    with context.engine().connect() as other:
        other.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    with pytest.raises(sa.exc.OperationalError) as raised:
        session.commit()
    assert raised.value.connection_invalidated
    session.rollback()
    write(context, "next").commit()
    assert (published(context), rows(context)) == (["next"], 1)


def test_session_in_a_transaction_of_the_application_writes_events_into_that(
    context: LiveApp,
) -> None:
    with context.engine().connect() as connection:
        outer = connection.begin()
        with Session(connection, join_transaction_mode="rollback_only") as session:
            context.live.publish("a", "inner", session=session)
            session.commit()
            names = connection.scalars(sa.text("SELECT name FROM live_outbox")).all()
        outer.rollback()
    assert names == ["inner"]
    assert published(context) == []
