"""Two workers on one database, people who read and write at both: no page is stale.

Whoever has written sees it at that worker from then on; who reads at one worker never sees
anything vanish; and what was written at one worker is seen at the other soon.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flasknado.live.state import state_of
from tests.flasknado.live.helpers import LiveApp, get, make_app, wait_for
from tests.support.serving import Serving, serving


@dataclass
class Worker:
    """One server; its page has the number of the newest note."""

    live_app: LiveApp
    served: Serving
    written: int = 0
    """The newest note that somebody has written here and been told of."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self) -> None:
        status, _, body = get(self.served, "/write", method="POST")
        assert status == 200
        with self.lock:
            self.written = max(self.written, int(body))

    def read(self) -> int:
        with self.lock:
            known = self.written
        status, headers, body = get(self.served, "/newest")
        assert status == 200
        newest = int(body)
        assert newest >= known, f"{headers['Cache-Status']}: {newest} after {known}"
        return newest

    def stats(self) -> dict[str, float]:
        stats: dict[str, float] = state_of(self.live_app.app).caches[0].stats()
        return stats


@contextlib.contextmanager
def worker(live_app: LiveApp) -> Iterator[Worker]:
    db, note = live_app.db, live_app.Note
    delays_s = iter(())

    @live_app.app.get("/newest")
    @live_app.live.cached(channels="notes")
    def newest() -> str:
        nonlocal delays_s
        found = db.session.scalar(db.select(db.func.max(note.id)))
        # Long enough for a commit between the read and the end of the response, now and then.
        delay_s = next(delays_s, None)
        if delay_s is None:
            delays_s = iter((0.0, 0.002, 0.0, 0.01))
            delay_s = 0.005
        time.sleep(delay_s)
        return str(found or 0)

    @live_app.app.post("/write")
    def write() -> str:
        row = note(text="")
        db.session.add(row)
        db.session.flush()
        live_app.live.publish("notes", "note")
        number = str(row.id)
        db.session.commit()
        return number

    with serving(live_app.server) as served:
        wait_for(
            lambda: get(served, "/newest")[1]["Cache-Status"] == "flasknado; hit",
            "the log is followed",
        )
        yield Worker(live_app, served)
    with live_app.app.app_context():
        db.engine.dispose()
    live_app.log.close()


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Worker]]:
    directory = tmp_path_factory.mktemp("never_stale")
    with worker(make_app(directory)) as one, worker(make_app(directory)) as other:
        yield [one, other]


def follow(person: list[tuple[str, int]], workers: list[Worker]) -> None:
    """Do what one person does, one after the other."""
    seen = [0, 0]
    for what, place in person:
        if what == "write":
            workers[place].write()
        else:
            newest = workers[place].read()
            assert newest >= seen[place], f"{newest} after {seen[place]} was seen"
            seen[place] = newest


STEP = st.tuples(st.sampled_from(["read", "read", "read", "write"]), st.integers(0, 1))
PEOPLE = st.lists(st.lists(STEP, min_size=1, max_size=12), min_size=2, max_size=6)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(PEOPLE)
def test_no_page_is_stale_whoever_writes_where(
    workers: list[Worker], people: list[list[tuple[str, int]]]
) -> None:
    with ThreadPoolExecutor(len(people)) as pool:
        for done in [pool.submit(follow, person, workers) for person in people]:
            done.result()
    newest = max(each.written for each in workers)
    for each in workers:
        wait_for(lambda each=each: each.read() >= newest, "the other worker has heard of it")


def test_crowd_reads_while_two_write(workers: list[Worker]) -> None:
    before = [each.stats() for each in workers]
    readers = [[("read", place)] * 60 for place in (0, 1, 0, 1, 0, 1)]
    writers = [[("write", place), ("read", place)] * 12 for place in (0, 1)]
    people = [*readers, *writers]
    with ThreadPoolExecutor(len(people)) as pool:
        for done in [pool.submit(follow, person, workers) for person in people]:
            done.result()
    for was, each in zip(before, workers, strict=True):
        now = each.stats()
        # It was the cache that was asked, and events that ended its pages.
        assert now["hit"] + now["collapsed"] > was["hit"] + was["collapsed"]
        assert now["ended"] > was["ended"]
