"""Events and rows are committed together, and arrive, whatever the application's engine does."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flasknado.errors import ConfigurationError
from flasknado.live.log.followers import PostgresFollower
from flasknado.live.log.wakeup import Wakeup
from flasknado.live.options import LiveOptions
from tests.flasknado.live.engine_modes import MODES, make_in_mode
from tests.flasknado.live.helpers import LiveApp, make_app, wait_for
from tests.support.pgbouncer import pgbouncer as run_pgbouncer
from tests.support.postgres import PostgresServer

Make = Callable[..., LiveApp]


class Listener(threading.Thread):
    """A process's way into the log: it keeps the names of what arrives, in order."""

    def __init__(self, live_app: LiveApp) -> None:
        super().__init__(name="listener")
        self.names: list[str] = []
        self.ready = threading.Event()
        self.failure: BaseException | None = None
        self._live_app = live_app
        self._wakeup = Wakeup()
        self._ended = False
        self._state = live_app.app.extensions["live"]

    def run(self) -> None:
        self._state.add_waker(self._wakeup.wake)
        try:
            with self._live_app.log.following(self._wakeup, LiveOptions()) as follower:
                place = follower.bounds().head
                self.ready.set()
                while not self._ended:
                    while self._state.signals:
                        follower.append([self._state.signals.popleft()])
                    follower.changed()
                    batch = follower.read(place, None, limit_events=1000, limit_bytes=10**6)
                    self.names += [event.name for event in batch.events]
                    assert batch.complete_to >= place
                    place = batch.complete_to
                    if place == batch.head:
                        follower.wait()
        except BaseException as error:
            self.failure = error
            self.ready.set()

    def stop(self) -> None:
        self._ended = True
        self._wakeup.wake()
        self.join(10)
        self._state.remove_waker(self._wakeup.wake)
        self._wakeup.close()
        assert self.failure is None, self.failure


@pytest.fixture(scope="module", params=MODES)
def in_mode(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LiveApp, Listener]]:
    """Return an application in a mode, and who listens."""
    folder = tmp_path_factory.mktemp("mode")

    def make(**options: object) -> LiveApp:
        return make_app(folder, **options)  # type: ignore[arg-type]  # they are of many types

    live_app = make_in_mode(request.param, make, folder, request)
    listener = Listener(live_app)
    listener.start()
    assert listener.ready.wait(10)
    yield live_app, listener
    listener.stop()
    live_app.log.close()
    with live_app.app.app_context():
        for engine in live_app.db.engines.values():
            engine.dispose()


STEPS = st.lists(
    st.sampled_from(
        [
            "row and event",
            "event",
            "read",
            "savepoint",
            "release",
            "roll back to savepoint",
            "publish late",
            "publish on release",
            "commit",
            "roll back",
        ]
    ),
    max_size=12,
)


class Program:
    """Runs steps in one session. Each row has an event of its name, and each event a row."""

    def __init__(self, live_app: LiveApp, names: Iterator[int]) -> None:
        self.live_app = live_app
        self.session = live_app.db.session
        self.names = names
        self.savepoints: list[sa.orm.SessionTransaction] = []

    def run(self, steps: list[str]) -> None:
        for step in (*steps, "commit"):
            getattr(self, step.replace(" ", "_"))()

    def row_and_event(self) -> None:
        name = str(next(self.names))
        self.session.add(self.live_app.Note(text=name))
        self.live_app.live.publish("a", name)

    def event(self) -> None:
        self.live_app.live.publish("a", "alone")

    def read(self) -> None:
        self.session.query(self.live_app.Note).count()

    def savepoint(self) -> None:
        self.savepoints.append(self.session.begin_nested())
        self.row_and_event()

    def release(self) -> None:
        if self.savepoints:
            self.savepoints.pop().commit()

    def roll_back_to_savepoint(self) -> None:
        if self.savepoints:
            self.savepoints.pop().rollback()

    def publish_late(self) -> None:
        """Have another's `before_commit` do something, that comes after ours."""
        sa.event.listen(
            self.session(), "before_commit", lambda session: self.row_and_event(), once=True
        )

    def publish_on_release(self) -> None:
        def released(session: sa.orm.Session) -> None:
            if session.in_nested_transaction():
                self.live_app.live.publish("a", "alone")

        if self.savepoints:
            sa.event.listen(self.session(), "after_commit", released, once=True)
            self.release()

    def commit(self) -> None:
        self.session.commit()
        self.savepoints.clear()

    def roll_back(self) -> None:
        self.session.rollback()
        self.savepoints.clear()


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
def test_rows_and_their_events_are_committed_together(
    in_mode: tuple[LiveApp, Listener], steps: list[str]
) -> None:
    live_app, listener = in_mode
    with live_app.app.app_context():
        first = live_app.db.session.scalar(sa.select(sa.func.max(live_app.Note.id))) or 0
        live_app.db.session.rollback()
        before = len(listener.names)
        live_app.live.publish("a", "begin")
        Program(live_app, iter(range(10**6))).run(steps)
        live_app.live.publish("a", "end")
        live_app.db.session.commit()
        wait_for(lambda: "end" in listener.names[before:] or listener.failure, "the last event")
        rows = live_app.db.session.scalars(
            sa.select(live_app.Note.text).where(live_app.Note.id > first)
        ).all()
        live_app.db.session.rollback()
    arrived = listener.names[before:]
    assert arrived[-1] == "end"
    assert sorted(rows) == sorted(set(arrived) - {"begin", "end", "alone"})
    assert len(rows) == len(set(rows))


def test_cursor_signal_and_event_committed_now_work(in_mode: tuple[LiveApp, Listener]) -> None:
    live_app, listener = in_mode
    before = len(listener.names)
    with live_app.app.app_context():
        live_app.live.cursor()
        live_app.live.signal("a", "signal")
        live_app.db.session.rollback()  # with BEGIN IMMEDIATE, it is the only writer
        live_app.live.publish("a", "now", now=True)
        live_app.live.publish("a", "buffered", buffered=True)
        live_app.db.session.rollback()
    wait_for(lambda: len(listener.names) == before + 3 or listener.failure, "the events")
    assert set(listener.names[before:]) == {"signal", "now", "buffered"}


def test_views_that_only_read_leave_the_database_unlocked(
    in_mode: tuple[LiveApp, Listener],
) -> None:
    live_app, _ = in_mode
    with live_app.app.app_context():
        live_app.live.cursor()
        with contextlib.closing(live_app.db.session()):
            live_app.db.session.query(live_app.Note).count()
    for n in range(3):
        with live_app.app.app_context():
            live_app.db.session.add(live_app.Note(text=f"later {n}"))
            live_app.db.session.commit()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., LiveApp]]:
    made: list[LiveApp] = []

    def make(**options: Any) -> LiveApp:
        made.append(make_app(tmp_path, **options))
        return made[-1]

    yield make
    for live_app in made:
        live_app.log.close()
        with live_app.app.app_context():
            for engine in live_app.db.engines.values():
                engine.dispose()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_engine_that_commits_each_statement_is_refused_at_the_start(
    database: str, make: Make, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres").url() if database == "postgresql" else None
    live_app = make(url=url, SQLALCHEMY_ENGINE_OPTIONS={"isolation_level": "AUTOCOMMIT"})
    with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
        live_app.server()


def test_driver_that_commits_each_statement_is_refused_when_an_event_is_written(
    make: Make,
) -> None:
    arguments = {"connect_args": {"isolation_level": None}}
    live_app = make(SQLALCHEMY_ENGINE_OPTIONS=arguments)
    with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
        live_app.publish("a")


def test_url_to_listen_at_that_is_of_another_database_is_refused(
    make: Make, postgres: PostgresServer
) -> None:
    other = make(url=postgres.url())
    other.cursor()
    with other.app.app_context():
        url = other.db.engine.url.render_as_string(hide_password=False)
    live_app = make(url=postgres.url(), LIVE_LISTEN_DATABASE_URI=url)
    live_app.cursor()
    wakeup = Wakeup()
    with (
        pytest.raises(ConfigurationError, match="another database"),
        live_app.log.following(wakeup, LiveOptions()),
    ):
        pass
    wakeup.close()


def test_schema_of_sqlite_is_refused_at_the_start(make: Make) -> None:
    live_app = make(metadata=sa.MetaData(schema="main"))
    with pytest.raises(ConfigurationError, match="attached database of SQLite"):
        live_app.server()


def test_bind_that_does_not_exist_is_refused_at_the_start(make: Make) -> None:
    live_app = make()
    live_app.live.init_app(live_app.app, live_app.db, bind_key="elsewhere")
    with pytest.raises(ConfigurationError, match="'elsewhere'"):
        live_app.server()


def test_pooler_that_shares_sessions_is_warned_of_once(
    make: Make, tmp_path: Path, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    live_app = make_in_mode("postgresql, pgbouncer", make, tmp_path, request)
    with caplog.at_level(logging.WARNING, "flasknado.live"):
        for _ in range(2):
            listener = Listener(live_app)
            listener.start()
            listener.ready.wait(10)
            listener.stop()
    told = [record.message for record in caplog.records if "LIVE_LISTEN" in record.message]
    assert len(told) == 1


def test_pooler_that_keeps_sessions_is_listened_through(
    make: Make, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    with run_pgbouncer(postgres, pool_mode="session") as pgbouncer:
        live_app = make(url=pgbouncer.url(postgres.url()))
        wakeup = Wakeup()
        with live_app.log.following(wakeup, LiveOptions()) as follower:
            assert isinstance(follower, PostgresFollower)
            assert follower._files != ()
        wakeup.close()
        live_app.log.close()
        with live_app.app.app_context():
            live_app.db.engine.dispose()
    assert not [record for record in caplog.records if "LIVE_LISTEN" in record.message]


def test_sessions_behind_a_pooler_are_left_as_they_are(
    make: Make, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    live_app = make_in_mode("postgresql, pgbouncer", make, tmp_path, request)
    listener = Listener(live_app)
    listener.start()
    assert listener.ready.wait(10)
    live_app.publish("a")
    wait_for(lambda: listener.names, "the event")
    settings = ("statement_timeout", "lock_timeout", "enable_seqscan", "search_path")
    with live_app.engine().connect() as one, live_app.engine().connect() as other:
        for connection in (one, other):
            values = [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in settings]
            assert values == ["0", "0", "on", '"$user", public']
    listener.stop()


@pytest.mark.parametrize("url", ["sqlite:///elsewhere.db", 7])
def test_url_to_listen_at_that_is_none_of_postgresql_is_refused(make: Make, url: object) -> None:
    with pytest.raises(ConfigurationError, match="LIVE_LISTEN_DATABASE_URI"):
        make(LIVE_LISTEN_DATABASE_URI=url)
