"""The sequencer of PostgreSQL: its election, its promise, and what it is told."""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from flasknado.live.event import Event
from flasknado.live.log import outbox, sequencer, tables
from flasknado.live.log.wakeup import Wakeup
from flasknado.live.options import LiveOptions
from tests.flasknado.live.helpers import LiveApp, wait_for
from tests.support.postgres import PostgresServer
from tests.support.serving import Serving

MakeApp = Callable[..., LiveApp]
ELECTED = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND database ="
ELECTED += " (SELECT oid FROM pg_database WHERE datname = current_database())"


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.url()


@contextlib.contextmanager
def following(live_app: LiveApp) -> Iterator[None]:
    """Be a process that follows the log, and so stands for election."""
    wakeup = Wakeup()
    with live_app.log.following(wakeup, LiveOptions()):
        yield
    wakeup.close()


def ask(live_app: LiveApp, statement: str) -> list[Any]:
    with live_app.engine().begin() as connection:
        return list(connection.exec_driver_sql(statement).scalars())


def logged(live_app: LiveApp) -> list[Event]:
    """Return the events that have offsets; checks that these are dense."""
    with live_app.engine().connect() as connection:
        head = tables.read_head(connection)
        batch = tables.read(connection, 0, None, limit_events=10**6, limit_bytes=10**9)
        while head is not None and batch.complete_to < batch.head:
            more = tables.read(
                connection, batch.complete_to, None, limit_events=10**6, limit_bytes=10**9
            )
            batch.events.extend(more.events)
            batch = more._replace(events=batch.events)
    assert [event.offset for event in batch.events] == list(range(1, len(batch.events) + 1))
    return batch.events


def test_server_without_a_client_numbers_what_is_published_elsewhere(
    make_live_app: MakeApp, url: str, serve: Callable[[LiveApp], Serving]
) -> None:
    live_app, program = make_live_app(url=url), make_live_app(url=url)
    live_app.cursor()
    serve(live_app)
    program.publish("a")
    wait_for(lambda: len(logged(live_app)) == 1, "the server to give an offset")


def test_one_of_several_is_elected_and_another_follows_it_at_once(
    make_live_app: MakeApp, url: str
) -> None:
    first, second = make_live_app(url=url), make_live_app(url=url)
    with contextlib.ExitStack() as stack:
        first_one = contextlib.ExitStack()
        stack.enter_context(first_one)
        first_one.enter_context(following(first))
        wait_for(lambda: ask(first, ELECTED), "an election")
        stack.enter_context(following(second))
        first.publish("a", name="one")
        wait_for(lambda: len(logged(first)) == 1)
        assert len(ask(first, ELECTED)) == 1
        assert first.log._sequencer.leading
        first_one.close()
        began_at = time.monotonic()
        second.publish("a", name="two")
        wait_for(lambda: len(logged(first)) == 2)
        assert time.monotonic() - began_at < 5  # a second, on a machine with nothing else to do
        assert second.log._sequencer.leading
    wait_for(lambda: not ask(first, ELECTED), "the last one to leave")


def test_elected_session_that_is_killed_is_followed_by_another(
    make_live_app: MakeApp, url: str
) -> None:
    live_app = make_live_app(url=url)
    with following(live_app):
        for n in range(3):
            elected = wait_for(lambda: ask(live_app, ELECTED), "an election")
            ask(live_app, f"SELECT pg_terminate_backend({elected[0]})")
            live_app.publish("a", "a")
            wait_for(lambda n=n: len(logged(live_app)) == 2 * (n + 1), "the events")


def test_elected_session_says_in_the_statistics_whose_it_is(
    make_live_app: MakeApp, url: str
) -> None:
    live_app = make_live_app(url=url)
    with following(live_app):
        wait_for(lambda: ask(live_app, ELECTED), "an election")
        names = "SELECT application_name FROM pg_stat_activity WHERE application_name ~ '^flask'"
        assert wait_for(lambda: ask(live_app, names)) == [sequencer.name_of(os.getpid())]


def test_elected_one_that_hangs_is_not_waited_for(make_live_app: MakeApp, url: str) -> None:
    live_app = make_live_app(url=url)
    live_app.cursor()
    with live_app.engine().connect() as hanging:
        # It has been elected, and does nothing.
        assert hanging.execute(sequencer._TRY_TO_LEAD).scalar_one()
        with following(live_app):
            live_app.publish("a")
            wait_for(lambda: len(logged(live_app)) == 1, "somebody else to do it")
            assert not live_app.log._sequencer.leading


def test_process_that_only_publishes_tells_of_its_commits_together(
    make_live_app: MakeApp, url: str
) -> None:
    live_app = make_live_app(url=url)
    live_app.publish("a")
    plain = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as listener:
        listener.execute(f"LISTEN {outbox.WAKE_CHANNEL}")
        began_at = time.monotonic()
        for _ in range(100):
            live_app.publish("a")
        elapsed_s = time.monotonic() - began_at
        live_app.log.close()
        told = sum(1 for _ in listener.notifies(timeout=0.5))
    assert 1 <= told <= elapsed_s / sequencer.BATCH_INTERVAL_S + 3
    # Its thread and connection are gone, and come back when they are needed.
    assert live_app.log._sequencer._thread is None
    live_app.publish("a")
    assert live_app.log._sequencer._thread is not None


def test_publishers_without_a_server_have_no_locks_in_common(
    make_live_app: MakeApp, url: str
) -> None:
    live_app, other = make_live_app(url=url), make_live_app(url=url)
    with live_app.app.app_context():
        live_app.db.session.add(live_app.Note())
        live_app.live.publish("a", "first")
        held = threading.Event()

        @sa.event.listens_for(live_app.db.session, "before_commit")
        def others(session: Any) -> None:
            # The event is in the outbox, and its transaction is open.
            if not held.is_set():
                held.set()
                other.publish("a", name="second")

        live_app.db.session.commit()
    assert held.is_set()
    live_app.settle()
    assert {event.name for event in logged(live_app)} == {"first", "second"}


class Writer(threading.Thread):
    """Reads what others have committed, then does and publishes something of its own."""

    def __init__(self, live_app: LiveApp, number: int, count: int) -> None:
        super().__init__(name=f"writer-{number}")
        self.live_app = live_app
        self.number = number
        self.count = count
        self.failure: BaseException | None = None

    def run(self) -> None:
        chance = random.Random(self.number)
        try:
            for n in range(self.count):
                with self.live_app.app.app_context():
                    self._do(n, chance)
        except BaseException as error:
            self.failure = error

    def _do(self, n: int, chance: random.Random) -> None:
        db = self.live_app.db
        if chance.random() < 0.3:
            time.sleep(chance.random() * 0.004)
        seen = db.session.execute(
            sa.text("SELECT writer, max(n) FROM effect GROUP BY writer")
        ).all()
        db.session.execute(
            sa.text("INSERT INTO effect (writer, n) VALUES (:writer, :n)"),
            {"writer": self.number, "n": n},
        )
        if chance.random() < 0.2:
            time.sleep(chance.random() * 0.004)
        data = {"writer": self.number, "n": n, "seen": {str(w): m for w, m in seen}}
        for part in range(1 + (chance.random() < 0.3)):
            self.live_app.live.publish("a", f"part {part}", data)
        if chance.random() < 0.1:
            db.session.rollback()
            self._do(n, chance)
        else:
            db.session.commit()


def inversions(events: list[Event]) -> int:
    """Return how many events come before one that their transaction had seen."""
    last: dict[str, int] = {}
    count = 0
    for event in events:
        said = json.loads(event.data)
        count += sum(last.get(writer, -1) < n for writer, n in said["seen"].items())
        # A transaction's own events may have others between them, but keep their order.
        last[str(said["writer"])] = said["n"]
    return count


@pytest.mark.timeout(180)
def test_no_event_precedes_one_that_its_transaction_has_seen(
    make_live_app: MakeApp, url: str
) -> None:
    writers, each = 8, 40
    publishing = make_live_app(
        url=url, SQLALCHEMY_ENGINE_OPTIONS={"pool_size": writers, "max_overflow": 2}
    )
    others = [make_live_app(url=url) for _ in range(2)]
    with publishing.engine().begin() as connection:
        connection.exec_driver_sql("CREATE TABLE effect (writer int, n int)")
    with contextlib.ExitStack() as stack:
        for other in others:
            stack.enter_context(following(other))
        threads = [Writer(publishing, number, each) for number in range(writers)]
        for thread in threads:
            thread.start()
        kills = 0
        while any(thread.is_alive() for thread in threads):
            for elected in ask(others[0], ELECTED):
                ask(others[0], f"SELECT pg_terminate_backend({elected})")
                kills += 1
            time.sleep(0.3)
        for thread in threads:
            thread.join()
            assert thread.failure is None
        wait_for(lambda: not ask(publishing, "SELECT id FROM live_outbox"), "the rest")
        events = logged(publishing)
    assert kills > 0
    keys = [(e.name, *map(json.loads(e.data).__getitem__, ("writer", "n"))) for e in events]
    assert len(keys) == len(set(keys))
    firsts = {key[1:] for key in keys if key[0] == "part 0"}
    assert firsts == {(writer, n) for writer in range(writers) for n in range(each)}
    assert inversions(events) == 0


def test_inversions_are_seen_by_the_judge() -> None:
    def event(offset: int, writer: int, n: int, **seen: int) -> Event:
        said = {"writer": writer, "n": n, "seen": {w[1:]: m for w, m in seen.items()}}
        return Event(offset, "a", "part 0", json.dumps(said))

    good = [event(1, 1, 0), event(2, 2, 0, w1=0), event(3, 1, 1, w1=0, w2=0)]
    assert inversions(good) == 0
    assert inversions([good[1], good[0], good[2]]) == 1
