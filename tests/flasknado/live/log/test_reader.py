"""The thread that follows the log, on a real SQLite file."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy

from flasknado.live.log import reader as live_log
from flasknado.live.log import tables
from flasknado.live.log.base import Log
from flasknado.live.log.followers import SQLiteFollower
from flasknado.live.log.reader import Answer, LiveBatch, Reader, Report, Request, Started, Stopped
from flasknado.live.log.session_log import SessionLog
from flasknado.live.log.wakeup import Wakeup
from flasknado.live.options import LiveOptions
from flasknado.live.state import state_of
from tests.flasknado.live.helpers import LiveApp, wait_for


class Following:
    """A reader and the reports that its loop got."""

    def __init__(self, reader: Reader, reports: list[Report]) -> None:
        self.reader = reader
        self.reports = reports

    def of_kind(self, kind: type) -> list[Any]:
        return [report for report in self.reports if isinstance(report, kind)]

    def offsets(self) -> list[int]:
        return [event.offset for report in self.of_kind(LiveBatch) for event in report.batch.events]

    def answer(self, channels: list[str], after: int | None) -> tables.Batch:
        request = Request(None, channels, after)
        self.reader.request(request)
        answers: list[Answer] = wait_for(
            lambda: [a for a in self.of_kind(Answer) if a.request is request], "an answer"
        )
        return answers[0].batch


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def follow(live_app: LiveApp) -> Iterator[Callable[..., Following]]:
    """Return a function that starts a reader of the application's log."""
    readers: list[Reader] = []
    with running_loop() as loop:

        def start(log: Log | None = None, **options: Any) -> Following:
            reports: list[Report] = []
            log = log or state_of(live_app.app).log

            def note(report: Report) -> None:
                reports.append(report)
                if isinstance(report, LiveBatch):
                    reader.taken()

            reader = Reader(log, LiveOptions(**options), loop, note)
            readers.append(reader)
            following = Following(reader, reports)
            reader.start()
            return following

        yield start
        for reader in readers:
            reader.stop()
            assert not reader._thread.is_alive()


def started(following: Following) -> Started:
    reports = wait_for(lambda: following.of_kind(Started), "the reader to start")
    return reports[-1]


def test_reader_begins_at_the_head_and_reports_what_is_committed_after(
    live_app: LiveApp, follow: Callable[..., Following]
) -> None:
    live_app.publish("a", "a")
    following = follow()
    assert str(started(following).cursor) == live_app.cursor()
    live_app.publish("a", "b")
    live_app.publish("c")
    wait_for(lambda: following.offsets() == [3, 4, 5], "three events")


def test_reader_creates_the_log_where_nothing_was_ever_published(
    live_app: LiveApp, follow: Callable[..., Following]
) -> None:
    assert str(started(follow()).cursor) == live_app.cursor()


def test_reader_that_is_woken_does_not_wait_for_its_poll(
    live_app: LiveApp, follow: Callable[..., Following]
) -> None:
    following = follow(poll_s=3600)
    started(following)
    live_app.publish("a")
    following.reader.wake()
    wait_for(lambda: following.offsets() == [1], "the event")


def test_reader_sees_the_commits_of_other_processes(
    live_app: LiveApp, follow: Callable[..., Following], tmp_path: Path
) -> None:
    following = follow()
    started(following)
    code = (
        "import sys; from pathlib import Path; from tests.flasknado.live.helpers import make_app;"
        "app = make_app(Path(sys.argv[1])); [app.publish('a') for _ in range(3)]"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, check=True)
    wait_for(lambda: following.offsets() == [1, 2, 3], "the other process's events")


def test_reader_reports_a_burst_in_batches_in_order(
    live_app: LiveApp, follow: Callable[..., Following]
) -> None:
    following = follow()
    started(following)
    live_app.publish(*["a"] * 450)
    wait_for(lambda: following.offsets() == list(range(1, 451)), "the burst")
    assert len(following.of_kind(LiveBatch)) == 5


def test_reader_with_a_busy_loop_has_a_bounded_number_of_reports_underway(
    live_app: LiveApp, follow: Callable[..., Following], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_log, "LIVE_BATCH_EVENTS", 1)
    reads: list[int] = []
    read = tables.read

    def counted(*args: Any, **kwargs: Any) -> tables.Batch:
        reads.append(1)
        return read(*args, **kwargs)

    monkeypatch.setattr(tables, "read", counted)
    following = follow()
    started(following)
    busy = threading.Event()
    following.reader._loop.call_soon_threadsafe(busy.wait)
    try:
        live_app.publish(*["a"] * 50)
        wait_for(lambda: len(reads) > live_log.REPORTS_UNDERWAY, "the reader to be held up")
        assert len(reads) <= live_log.REPORTS_UNDERWAY + 2
        assert following.offsets() == []
    finally:
        busy.set()
    wait_for(lambda: following.offsets() == list(range(1, 51)), "the rest")


def test_request_is_answered_with_its_channels_up_to_the_head(
    live_app: LiveApp, follow: Callable[..., Following]
) -> None:
    live_app.publish("a", "b", "c", "a")
    following = follow()
    batch = following.answer(["a", "b"], 1)
    assert [(e.offset, e.channel) for e in batch.events] == [(2, "b"), (4, "a")]
    assert batch.complete_to == batch.head == 4
    bounds = following.answer(["a"], None)
    assert (bounds.events, bounds.head) == ([], 4)


def test_request_that_was_cancelled_is_not_read(
    live_app: LiveApp, follow: Callable[..., Following]
) -> None:
    following = follow()
    started(following)
    cancelled = Request(None, ["a"], 0)
    cancelled.cancelled = True
    following.reader.request(cancelled)
    following.answer(["a"], 0)
    assert [answer.request for answer in following.of_kind(Answer)] != [cancelled]
    assert len(following.of_kind(Answer)) == 1


class Outage:
    """Makes every statement of the reader on an engine's database fail while it lasts."""

    def __init__(self, engine: sa.Engine) -> None:
        self.lasts = False
        # Of its dialect, since the reader's connections are not the engine's.
        sa.event.listen(engine, "do_execute", self._fail)
        sa.event.listen(engine, "do_execute_no_params", self._fail)

    def _fail(self, *args: Any) -> None:
        if self.lasts and threading.current_thread().name == "flasknado-live-log":
            raise sa.exc.OperationalError("statement", {}, Exception("the database is away"))


def test_outage_of_the_database_is_logged_and_nothing_is_skipped(
    live_app: LiveApp, follow: Callable[..., Following], caplog: pytest.LogCaptureFixture
) -> None:
    outage = Outage(live_app.engine())
    following = follow()
    started(following)
    live_app.publish("a")
    wait_for(lambda: following.offsets() == [1], "the first event")
    outage.lasts = True
    live_app.publish("a", "a")
    wait_for(lambda: following.of_kind(Stopped), "the outage to be noticed")
    request = Request(None, ["a"], 0)
    following.reader.request(request)
    live_app.publish("a")
    assert following.of_kind(Answer) == []
    outage.lasts = False
    wait_for(lambda: following.offsets() == [1, 2, 3, 4], "the missed events")
    wait_for(lambda: following.of_kind(Answer), "the request to be answered after all")
    assert following.of_kind(Started)[-1].unbroken
    assert "the log of live events cannot be read" in caplog.text
    assert "the database is away" in caplog.text


def test_outage_at_the_start_is_retried(
    live_app: LiveApp, follow: Callable[..., Following]
) -> None:
    outage = Outage(live_app.engine())
    outage.lasts = True
    following = follow()
    wait_for(lambda: following.of_kind(Stopped), "a failed start")
    outage.lasts = False
    started(following)


def test_tables_that_are_missing_are_waited_for(
    live_app: LiveApp, follow: Callable[..., Following]
) -> None:
    with live_app.app.app_context():
        live_app.db.drop_all()
    following = follow()
    wait_for(lambda: following.of_kind(Stopped), "a failed start")
    with live_app.app.app_context():
        live_app.db.create_all()
    started(following)


def test_database_in_memory_is_refused_with_the_mend(
    follow: Callable[..., Following], caplog: pytest.LogCaptureFixture
) -> None:
    engine = sa.create_engine("sqlite://")
    following = follow(SessionLog(lambda: engine, SQLAlchemy(), lambda events: None))
    wait_for(lambda: following.of_kind(Stopped), "the refusal")
    assert "give the application a database file" in caplog.text
    assert "Traceback" not in caplog.text


def test_log_replaced_by_another_is_told_as_a_break(
    live_app: LiveApp, follow: Callable[..., Following]
) -> None:
    live_app.publish("a", "a", "a")
    following = follow()
    started(following)
    with live_app.engine().begin() as connection:
        connection.execute(sa.delete(tables.live_event))
        connection.execute(sa.update(tables.live_log).values(epoch="other", head=1))
    wait_for(lambda: len(following.of_kind(Started)) == 2, "the break")
    report = following.of_kind(Started)[-1]
    assert (str(report.cursor), report.unbroken) == ("other:1", False)
    live_app.publish("a")
    wait_for(lambda: following.offsets() == [2], "the new log's event")


def test_log_restored_from_an_older_backup_is_told_as_a_break(
    live_app: LiveApp, follow: Callable[..., Following]
) -> None:
    live_app.publish("a", "a", "a")
    following = follow()
    epoch = started(following).cursor.epoch
    with live_app.engine().begin() as connection:
        connection.execute(sa.delete(tables.live_event).where(tables.live_event.c.offset > 1))
        connection.execute(sa.update(tables.live_log).values(head=1))
    wait_for(lambda: len(following.of_kind(Started)) == 2, "the break")
    report = following.of_kind(Started)[-1]
    assert (report.cursor.offset, report.unbroken) == (1, False)
    # Another name, so that cursors of the lost future are recognised when it has grown past them.
    assert report.cursor.epoch != epoch
    assert live_app.cursor() == str(report.cursor)


def test_events_pruned_before_they_were_read_are_told_as_a_break(
    live_app: LiveApp, follow: Callable[..., Following]
) -> None:
    following = follow()
    started(following)
    with live_app.app.app_context():
        for _ in range(3):
            live_app.live.publish("a", "n")

        @sa.event.listens_for(live_app.db.session, "before_commit")
        def prune(session: Any) -> None:
            session.execute(sa.delete(tables.live_event).where(tables.live_event.c.offset <= 2))
            session.execute(sa.update(tables.live_log).values(floor=2))

        live_app.db.session.commit()
    wait_for(lambda: len(following.of_kind(Started)) == 2, "the break")
    assert following.of_kind(Started)[-1].cursor.offset == 3


def test_reader_prunes_now_and_then_in_small_batches(
    live_app: LiveApp, follow: Callable[..., Following]
) -> None:
    live_app.publish(*["a"] * 1200)
    following = follow(retention_events=100, prune_interval_s=0.01)
    started(following)
    wait_for(lambda: following.answer(["a"], None).oldest == 1101, "the log to be pruned")


def test_reader_prunes_by_age(live_app: LiveApp, follow: Callable[..., Following]) -> None:
    live_app.publish("a", "a")
    following = follow(retention_s=0.01, prune_interval_s=0.01)
    wait_for(lambda: following.answer(["a"], None).oldest == 3, "the log to be pruned")


def test_pruning_against_a_long_writer_waits_and_delivery_does_not(
    live_app: LiveApp, follow: Callable[..., Following], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="flasknado.live")
    with live_app.engine().begin() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    live_app.publish(*["a"] * 10)
    with live_app.app.app_context():
        live_app.db.session.add(live_app.Note())
        live_app.db.session.flush()
        following = follow(retention_events=1, prune_interval_s=0.01)
        wait_for(lambda: "has to wait" in caplog.text, "pruning to be tried")
        assert len(following.answer(["a"], 0).events) == 10
        live_app.db.session.rollback()
    wait_for(lambda: following.answer(["a"], None).oldest == 10, "the log to be pruned")
    assert following.of_kind(Stopped) == []


def test_reader_leaves_the_pool_of_the_application_alone(
    live_app: LiveApp, follow: Callable[..., Following]
) -> None:
    started(follow())
    assert live_app.engine().pool.checkedout() == 0  # type: ignore[attr-defined]


def test_connection_of_a_follower_that_is_lost_is_closed(live_app: LiveApp) -> None:
    wakeup = Wakeup()
    with state_of(live_app.app).log.following(wakeup, LiveOptions()) as follower:
        assert isinstance(follower, SQLiteFollower)
        driver = follower._connection.connection.dbapi_connection
        assert driver is not None
        follower._connection.invalidate()
    wakeup.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        driver.cursor()


def test_requests_for_the_same_are_one_read(
    live_app: LiveApp, follow: Callable[..., Following], monkeypatch: pytest.MonkeyPatch
) -> None:
    live_app.publish("a", "a", "b")
    following = follow()
    started(following)
    reads: list[tuple[str, ...]] = []
    read = tables.read

    def counted(connection: Any, after: int, channels: Any, **limits: Any) -> tables.Batch:
        reads.append(channels)
        return read(connection, after, channels, **limits)

    monkeypatch.setattr(tables, "read", counted)
    requests = [Request(None, ("a",), 0) for _ in range(5)] + [
        Request(None, ("b",), 0),
        Request(None, ("a",), 1),
    ]
    # All are there before the reader looks.
    following.reader._requests.extend(requests)
    following.reader.wake()
    answers: list[Answer] = wait_for(
        lambda: len(following.of_kind(Answer)) == 7 and following.of_kind(Answer), "the answers"
    )
    assert [answer.request for answer in answers] == requests
    offsets = [[event.offset for event in answer.batch.events] for answer in answers]
    assert offsets == [[1, 2]] * 5 + [[3], [2]]
    assert [channels for channels in reads if channels] == [("a",), ("b",), ("a",)]


def test_reader_puts_sqlite_into_wal_mode(
    live_app: LiveApp, follow: Callable[..., Following]
) -> None:
    started(follow())
    with live_app.engine().connect() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM live_log")  # it looks at the file again
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_reader_whose_loop_is_closed_ends_by_itself(live_app: LiveApp) -> None:
    with running_loop() as loop:
        live_log = state_of(live_app.app).log
        reader = Reader(live_log, LiveOptions(poll_s=0.005), loop, lambda report: None)
        reader.start()
    started_at = time.monotonic()
    wait_for(lambda: not reader._thread.is_alive(), "the thread to end")
    assert time.monotonic() - started_at < 5
