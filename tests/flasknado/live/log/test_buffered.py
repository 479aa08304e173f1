"""Buffered events: together, in order, resumable for a while, and bounded."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from flasknado.live import BufferFull, InvalidEvent
from flasknado.live.event import Cursor, parse_cursor
from flasknado.live.hub.hub import Hub
from flasknado.live.log import buffered, tables
from flasknado.live.log.buffered import Buffer, Take
from flasknado.live.log.tables import Draft
from tests.flasknado.live.helpers import LiveApp
from tests.flasknado.live.hub_client import joined_client, until, with_hub

ROOT = Path(__file__).parents[3]
MakeApp = Callable[..., LiveApp]
KINDS = ("sqlite", "sqlite apart", "postgresql", "postgresql apart", "memory")


def buffer(live_app: LiveApp, *names: str, channel: str = "a") -> None:
    with live_app.app.app_context():
        for name in names:
            live_app.live.publish(channel, name, buffered=True)


@pytest.mark.parametrize("kind", KINDS)
def test_buffered_events_arrive_and_are_replayed_in_order_with_kept_ones(
    make: MakeApp, kind: str
) -> None:
    live_app = make(kind)
    begin = parse_cursor(live_app.cursor())
    names = [f"{n}" for n in range(12)]

    async def body(hub: Hub) -> None:
        client = await joined_client(hub, "a")
        for n, name in enumerate(names):
            if n % 4 == 3:
                live_app.publish("a", name=name)
            else:
                buffer(live_app, name)
        await until(lambda: len(client.events()) == len(names))
        assert [message["event"] for message in client.received if message["channel"]] == names
        late = await joined_client(hub, "a", after=begin)
        await until(lambda: len(late.events()) == len(names))
        assert late.events() == client.events()

    with_hub(live_app, body)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_buffered_events_of_a_transaction_that_is_rolled_back_are_published_all_the_same(
    make: MakeApp, kind: str
) -> None:
    live_app = make(kind)
    session = live_app.db.session
    with live_app.app.app_context():

        @sa.event.listens_for(session, "before_commit")
        def fail(session: object) -> None:
            raise RuntimeError("the commit fails")

        live_app.live.publish("a", "token 1", buffered=True)
        live_app.live.publish("a", "lost")
        live_app.live.publish("a", "token 2", buffered=True)
        with pytest.raises(RuntimeError, match="the commit fails"):
            session.commit()
        session.rollback()
        live_app.live.publish("a", "token 3", buffered=True)
    live_app.log.flush()
    live_app.settle()
    assert names_in(live_app) == ["token 1", "token 2", "token 3"]


def names_in(live_app: LiveApp) -> list[str]:
    with live_app.engine().connect() as connection:
        batch = tables.read(connection, 0, None, limit_events=10**6, limit_bytes=10**9)
    return [event.name for event in batch.events]


def test_buffered_events_of_many_threads_share_transactions(make: MakeApp) -> None:
    live_app = make("sqlite")
    live_app.cursor()
    commits = []
    sa.event.listen(live_app.engine(), "commit", commits.append)

    def publish(number: int) -> None:
        for n in range(20):
            buffer(live_app, f"{n}", channel=f"stream:{number}")
            time.sleep(0.002)

    threads = [threading.Thread(target=publish, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    live_app.log.flush()
    with live_app.engine().connect() as connection:
        batch = tables.read(connection, 0, None, limit_events=10**6, limit_bytes=10**9)
    for number in range(10):
        names = [event.name for event in batch.events if event.channel == f"stream:{number}"]
        assert names == [str(n) for n in range(20)]
    assert len(commits) < 100


def test_buffered_event_with_a_session_is_refused(live_app: LiveApp) -> None:
    with live_app.app.app_context(), pytest.raises(InvalidEvent, match="pass one of"):
        live_app.live.publish("a", "n", session=live_app.db.session, buffered=True)


def test_buffered_events_wait_for_a_writer_that_has_locked_sqlite(live_app: LiveApp) -> None:
    with live_app.app.app_context():
        live_app.db.session.add(live_app.Note())
        live_app.db.session.flush()
        buffer(live_app, "token")
        time.sleep(2 * buffered.INTERVAL_S)
        # The writer takes along what its thread has published.
        live_app.live.publish("a", "done")
        live_app.db.session.commit()
    live_app.log.flush()
    assert names_in(live_app) == ["token", "done"]


@pytest.mark.parametrize("kind", ["sqlite", "memory"])
def test_resuming_behind_buffered_events_that_have_gone_is_told(make: MakeApp, kind: str) -> None:
    live_app = make(kind, LIVE_BUFFERED_RETENTION_S=0.3, LIVE_PRUNE_INTERVAL_S=0.01)
    begin = parse_cursor(live_app.cursor())
    buffer(live_app, "token 1", "token 2", channel="stream")
    live_app.publish("kept", "stream")
    live_app.log.flush()

    async def body(hub: Hub) -> None:
        async def resets(channel: str, after: int) -> bool:
            client = await joined_client(hub, channel, after=Cursor(begin.epoch, after))
            hub.remove(client)
            return bool(client.control("reset"))

        while not await resets("stream", 0):
            await asyncio.sleep(0.01)
        assert await resets("stream", 1)
        assert not await resets("stream", 2)
        # Who follows something else has lost nothing.
        assert not await resets("kept", 0)

    with_hub(live_app, body)


@pytest.fixture
def gate() -> Iterator[tuple[Buffer, threading.Event, list[str]]]:
    """Yield a buffer whose appends wait for an event, and what was appended."""
    opened = threading.Event()
    appended: list[str] = []

    def append(take: Take) -> None:
        assert opened.wait(15)
        appended.extend(draft.name for draft in take())

    waiting = Buffer(append)
    yield waiting, opened, appended
    opened.set()
    waiting.close()


def test_full_buffer_makes_publishers_wait_and_then_refuses(
    gate: tuple[Buffer, threading.Event, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, opened, appended = gate
    monkeypatch.setattr(buffered, "MAX_WAITING_BYTES", 1000)
    monkeypatch.setattr(buffered, "FULL_TIMEOUT_S", 0.05)
    for n in range(2):
        waiting.add(Draft("a", str(n), "x" * 400))
    with pytest.raises(BufferFull, match="too slow"):
        waiting.add(Draft("a", "too many", "x"))
    monkeypatch.setattr(buffered, "FULL_TIMEOUT_S", 15)
    threading.Timer(0.05, opened.set).start()
    waiting.add(Draft("a", "later", "x"))
    assert waiting.flush()
    assert appended == ["0", "1", "later"]


def test_full_buffer_never_holds_up_a_loop(
    gate: tuple[Buffer, threading.Event, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, _, _ = gate
    monkeypatch.setattr(buffered, "MAX_WAITING_BYTES", 1)
    waiting.add(Draft("a", "one", "x"))

    async def add() -> None:
        with pytest.raises(BufferFull):
            waiting.add(Draft("a", "two", "x"))

    began_at = time.monotonic()
    asyncio.run(add())
    assert time.monotonic() - began_at < buffered.FULL_TIMEOUT_S


def test_append_that_fails_is_tried_again_and_keeps_the_order(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(buffered, "RETRY_S", 0.01)
    appended: list[str] = []
    failures = [sa.exc.OperationalError("x", {}, Exception("away")) for _ in range(3)]

    def append(take: Take) -> None:
        drafts = take()
        if failures:
            raise failures.pop()
        appended.extend(draft.name for draft in drafts)

    failing = Buffer(append)
    for n in range(10):
        failing.add(Draft("a", str(n), "x"))
    assert failing.flush(15)
    assert appended == [str(n) for n in range(10)]
    assert caplog.text.count("cannot be appended") == 1
    failing.close()


PROGRAM = """
import os, signal, sys
from pathlib import Path
from tests.flasknado.live.helpers import make_app
live_app = make_app(Path(sys.argv[1]))
with live_app.app.app_context():
    for n in range(5):
        live_app.live.publish("a", str(n), buffered=True)
if sys.argv[2] == "kill":
    live_app.log.flush()
    with live_app.app.app_context():
        live_app.live.publish("a", "lost", buffered=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("end", ["exit", "kill"])
def test_program_that_ends_has_appended_everything_unless_it_is_killed(
    live_app: LiveApp, tmp_path: Path, end: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), end], cwd=ROOT, check=False
    )
    assert done.returncode == (-signal.SIGKILL if end == "kill" else 0)
    assert names_in(live_app) == [str(n) for n in range(5)]


def test_hub_that_closes_appends_what_is_buffered(make: MakeApp) -> None:
    live_app = make("sqlite")

    async def body(hub: Hub) -> None:
        buffer(live_app, "token")

    with_hub(live_app, body)
    assert names_in(live_app) == ["token"]


FORK = """
import os, sys
from pathlib import Path
from tests.flasknado.live.helpers import make_app
live_app = make_app(Path(sys.argv[1]))
def publish(name):
    with live_app.app.app_context():
        live_app.live.publish("a", name, buffered=True)
publish("parent")
if os.fork() == 0:
    publish("child")
    live_app.log.flush()
    os._exit(0)
os.wait()
"""


def test_fork_has_a_buffer_of_its_own(live_app: LiveApp, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", FORK, str(tmp_path)], cwd=ROOT, check=True)
    assert sorted(names_in(live_app)) == ["child", "parent"]
