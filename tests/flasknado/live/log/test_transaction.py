"""An event exists if and only if the transaction that published it commits."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy.track_modifications import models_committed
from sqlalchemy.orm import Session

from flasknado.live import TransactionEnded
from flasknado.live.log import tables
from tests.flasknado.live.helpers import LiveApp


class Rollback(Exception):
    """Raised by a test to leave a block by way of a rollback."""


@pytest.fixture
def context(live_app: LiveApp) -> Iterator[LiveApp]:
    with live_app.app.app_context():
        yield live_app


def logged(live_app: LiveApp) -> list[str]:
    """Return the names of the events in the log, in order; checks that there is no hole."""
    with live_app.engine().connect() as connection:
        head = tables.read_head(connection)
        if head is None:
            return []
        batch = tables.read(connection, 0, None, limit_events=10**6, limit_bytes=10**9)
    assert [e.offset for e in batch.events] == list(range(1, head.offset + 1))
    return [event.name for event in batch.events]


def test_publish_committed_is_logged_in_order_with_its_rows(context: LiveApp) -> None:
    db, live = context.db, context.live
    db.session.add(context.Note(text="x"))
    live.publish("a", "first", {"n": 1})
    live.publish("b", "second", [2])
    assert logged(context) == []
    db.session.commit()
    assert logged(context) == ["first", "second"]
    assert db.session.query(context.Note).count() == 1


def test_publish_alone_is_logged_by_the_commit(context: LiveApp) -> None:
    context.live.publish("a", "alone")
    context.db.session.commit()
    assert logged(context) == ["alone"]


def test_publish_rolled_back_is_not_logged(context: LiveApp) -> None:
    context.live.publish("a", "lost")
    context.db.session.rollback()
    context.live.publish("a", "kept")
    context.db.session.commit()
    assert logged(context) == ["kept"]


def test_publish_in_a_session_that_is_closed_is_not_logged(context: LiveApp) -> None:
    context.live.publish("a", "lost")
    context.db.session.close()
    context.db.session.commit()
    assert logged(context) == []


def test_publish_uncommitted_at_the_end_of_the_context_is_not_logged(live_app: LiveApp) -> None:
    with live_app.app.app_context():
        live_app.live.publish("a", "lost")
    live_app.publish("a", name="kept")
    assert logged(live_app) == ["kept"]


def test_publish_in_a_commit_that_fails_is_not_logged(context: LiveApp) -> None:
    db = context.db
    db.session.add(context.Note(id=1))
    db.session.commit()
    db.session.expunge_all()
    db.session.add(context.Note(id=1))
    context.live.publish("a", "lost")
    with pytest.raises(sa.exc.IntegrityError):
        db.session.commit()
    db.session.rollback()
    db.session.commit()
    assert logged(context) == []


def test_savepoint_rolled_back_publishes_nothing(context: LiveApp) -> None:
    db, live = context.db, context.live
    db.session.add(context.Note())
    db.session.flush()
    live.publish("a", "before")
    with contextlib.suppress(Rollback), db.session.begin_nested():
        live.publish("a", "lost")
        with db.session.begin_nested():
            live.publish("a", "lost within")
        raise Rollback
    with db.session.begin_nested():
        live.publish("a", "released")
        with contextlib.suppress(Rollback), db.session.begin_nested():
            live.publish("a", "lost too")
            raise Rollback
        with db.session.begin_nested():
            live.publish("a", "released within")
    live.publish("a", "after")
    db.session.commit()
    assert logged(context) == ["before", "released", "released within", "after"]


def test_savepoint_open_at_the_commit_is_published_with_it(context: LiveApp) -> None:
    db, live = context.db, context.live
    live.publish("a", "before")
    db.session.begin_nested()
    live.publish("a", "within")
    db.session.commit()
    assert logged(context) == ["before", "within"]


def test_savepoint_closed_without_a_word_publishes_nothing(context: LiveApp) -> None:
    db = context.db
    nested = db.session.begin_nested()
    context.live.publish("a", "lost")
    nested.close()
    db.session.commit()
    assert logged(context) == []


def test_publish_in_a_mapper_event_while_flushing_is_logged(context: LiveApp) -> None:
    db = context.db

    @sa.event.listens_for(context.Note, "after_insert")
    def inserted(mapper: Any, connection: Any, note: Any) -> None:
        context.live.publish("notes", f"inserted {note.id}")

    db.session.add(context.Note(id=5))
    db.session.commit()
    assert logged(context) == ["inserted 5"]


def test_publish_in_a_later_before_commit_is_logged(context: LiveApp) -> None:
    @sa.event.listens_for(context.db.session, "before_commit")
    def late(session: Any) -> None:
        context.live.publish("a", "late")

    context.live.publish("a", "early")
    context.db.session.commit()
    assert logged(context) == ["early", "late"]


def test_publish_in_a_later_before_commit_alone_is_logged(context: LiveApp) -> None:
    @sa.event.listens_for(context.db.session, "before_commit")
    def late(session: Any) -> None:
        context.live.publish("a", "late")

    context.db.session.add(context.Note())
    context.db.session.commit()
    assert logged(context) == ["late"]


def test_publish_after_the_commit_raises_and_with_now_commits_by_itself(
    context: LiveApp,
) -> None:
    raised: list[BaseException] = []

    @sa.event.listens_for(context.db.session, "after_commit")
    def committed(session: Any) -> None:
        try:
            context.live.publish("a", "too late")
        except TransactionEnded as error:
            raised.append(error)
        context.live.publish("a", "now", now=True)
        context.live.signal("a", "signal")
        context.live.cursor()

    context.db.session.add(context.Note())
    context.live.publish("a", "in time")
    context.db.session.commit()
    assert logged(context) == ["in time", "now", "signal"]
    assert "now=True" in str(raised[0])


def test_publish_in_models_committed_raises(make_live_app: Callable[..., LiveApp]) -> None:
    live_app = make_live_app(SQLALCHEMY_TRACK_MODIFICATIONS=True)

    def changed(app: Any, changes: Any) -> None:
        live_app.live.publish("a", "changed")

    with live_app.app.app_context(), models_committed.connected_to(changed, live_app.app):
        live_app.db.session.add(live_app.Note())
        with pytest.raises(TransactionEnded, match="models_committed"):
            live_app.db.session.commit()
        live_app.db.session.remove()
        assert live_app.db.session.query(live_app.Note).count() == 1


def test_publish_after_a_rollback_in_the_same_transaction_raises(context: LiveApp) -> None:
    raised: list[BaseException] = []

    @sa.event.listens_for(context.db.session, "after_rollback")
    def rolled_back(session: Any) -> None:
        try:
            context.live.publish("a", "lost")
        except TransactionEnded as error:
            raised.append(error)

    context.live.publish("a", "lost, too")
    context.db.session.connection()
    context.db.session.rollback()
    assert len(raised) == 1
    assert logged(context) == []


def test_publish_when_a_savepoint_is_released_joins_what_encloses_it(context: LiveApp) -> None:
    @sa.event.listens_for(context.db.session, "after_commit")
    def committed(session: Any) -> None:
        if session.in_nested_transaction():
            context.live.publish("a", "released")

    with context.db.session.begin_nested():
        context.db.session.add(context.Note())
    context.db.session.commit()
    assert logged(context) == ["released"]


def test_publish_at_the_end_of_a_transaction_belongs_to_the_next(context: LiveApp) -> None:
    def ended(session: Any, transaction: Any) -> None:
        context.live.publish("a", "next")

    sa.event.listen(context.db.session(), "after_transaction_end", ended, insert=True, once=True)
    context.live.publish("a", "first")
    context.db.session.commit()
    assert logged(context) == ["first"]
    context.db.session.commit()
    assert logged(context) == ["first", "next"]


def test_savepoint_as_the_first_statement_is_no_transaction_of_its_own(context: LiveApp) -> None:
    db = context.db
    with db.session.begin_nested():
        db.session.add(context.Note())
    context.live.publish("a", "lost")
    db.session.rollback()
    assert db.session.query(context.Note).count() == 0
    assert logged(context) == []


def test_publish_now_is_there_whatever_becomes_of_the_session(context: LiveApp) -> None:
    context.live.publish("a", "lost")
    context.live.publish("a", "now", now=True)
    context.db.session.rollback()
    assert logged(context) == ["now"]


def test_publish_now_in_a_session_that_writes_is_refused(context: LiveApp) -> None:
    context.db.session.add(context.Note())
    context.db.session.flush()
    with pytest.raises(TransactionEnded, match="keeps SQLite locked"):
        context.live.publish("a", "now", now=True)


def test_revoke_now_takes_effect_after_a_commit(context: LiveApp) -> None:
    @sa.event.listens_for(context.db.session, "after_commit")
    def committed(session: Any) -> None:
        context.live.revoke("ann", now=True)

    context.db.session.add(context.Note())
    context.db.session.commit()
    assert logged(context) == ["revoke"]


def test_publish_in_any_session_of_the_database_joins_that_one(context: LiveApp) -> None:
    with Session(context.db.engine) as session:
        context.live.publish("a", "kept", session=session)
        context.db.session.rollback()
        session.commit()
        context.live.publish("a", "lost", session=session)
    assert logged(context) == ["kept"]


def test_publish_when_the_session_may_not_begin_by_itself_is_logged(context: LiveApp) -> None:
    with Session(context.db.engine, autobegin=False) as session, session.begin():
        context.live.publish("a", "kept", session=session)
    assert logged(context) == ["kept"]


def test_publish_takes_no_lock_before_the_commit(context: LiveApp) -> None:
    context.live.publish("a", "first")
    with Session(context.db.engine) as other:
        context.live.publish("a", "second", session=other)
        other.commit()
    context.db.session.commit()
    assert logged(context) == ["second", "first"]


def test_publish_by_many_threads_leaves_no_hole_and_keeps_each_ones_order(
    live_app: LiveApp,
) -> None:
    def work(number: int) -> None:
        for turn in range(15):
            with live_app.app.app_context():
                live_app.db.session.add(live_app.Note())
                live_app.live.publish("a", f"{number}.{turn}.0")
                live_app.live.publish("a", f"{number}.{turn}.1")
                if turn % 3 == 2:
                    live_app.db.session.rollback()
                else:
                    live_app.db.session.commit()

    with live_app.engine().begin() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = logged(live_app)
    expected = [f"{t}.{part}" for t in range(15) if t % 3 != 2 for part in range(2)]
    for number in range(4):
        own = [name.partition(".")[2] for name in names if name.startswith(f"{number}.")]
        assert own == expected
    # Events of one transaction are next to each other.
    assert all(names[i][:-1] == names[i + 1][:-1] for i in range(0, len(names), 2))


PUBLISHER = """
import sys
from pathlib import Path
from tests.flasknado.live.helpers import make_app
live_app = make_app(Path(sys.argv[1]))
for turn in range(20):
    live_app.publish("a", name=f"{sys.argv[2]}.{turn}")
"""


def test_publish_by_two_processes_at_once_leaves_no_hole(live_app: LiveApp, tmp_path: Path) -> None:
    with live_app.engine().begin() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, str(tmp_path), name],
            cwd=Path(__file__).parents[3],
        )
        for name in "xy"
    ]
    assert [process.wait(30) for process in processes] == [0, 0]
    names = logged(live_app)
    for name in "xy":
        assert [n for n in names if n[0] == name] == [f"{name}.{turn}" for turn in range(20)]


def test_capture_collects_what_commits_and_nothing_else(context: LiveApp) -> None:
    live, db = context.live, context.db
    with live.capture() as captured:
        live.publish("a", "one", {"n": 1})
        assert captured == []
        db.session.commit()
        live.publish("a", "lost")
        db.session.rollback()
    live.publish("a", "later")
    db.session.commit()
    assert [(e.offset, e.channel, e.name, e.data) for e in captured] == [(1, "a", "one", '{"n":1}')]


def test_sessions_that_publish_nothing_are_left_alone(context: LiveApp) -> None:
    statements: list[str] = []

    @sa.event.listens_for(context.db.engine, "before_cursor_execute")
    def note(conn: Any, cursor: Any, statement: str, *args: Any) -> None:
        statements.append(statement)

    context.db.session.add(context.Note())
    context.db.session.commit()
    assert not any("live_" in statement for statement in statements)


def test_before_commit_of_the_application_still_sees_its_changes(
    make_live_app: Callable[..., LiveApp],
) -> None:
    live_app = make_live_app()
    seen: list[int] = []
    sa.event.listen(
        live_app.db.session, "before_commit", lambda session: seen.append(len(session.new))
    )
    with live_app.app.app_context():
        live_app.db.session.add(live_app.Note())
        live_app.live.publish("a", "n")
        live_app.db.session.commit()
        assert live_app.db.session.query(live_app.Note).count() == 1
    assert len(seen) == 1
