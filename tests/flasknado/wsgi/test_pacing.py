"""How many tasks run at once: all that wait, few that compute."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import flask
import pytest
import requests

from flasknado import HTTPServer, WSGIContainer
from flasknado.pool import Pool
from flasknado.wsgi.pacing import LEAST_RUNNING, Pacer
from tests.support.poll import poll
from tests.support.serving import Serving, serving

THREADS = 8
CLIENTS = 2 * THREADS

reports_end = threading.Event()


def make_server() -> HTTPServer:
    app = flask.Flask("pacing")

    @app.get("/compute")
    def compute() -> str:
        ends = time.thread_time() + 0.01
        while time.thread_time() < ends:
            sum(range(500))
        return "computed"

    @app.get("/report")
    def report() -> str:
        while not reports_end.is_set():
            sum(range(400_000))
        return "reported"

    @app.get("/wait")
    def wait() -> str:
        time.sleep(0.1)
        return "waited"

    return HTTPServer(WSGIContainer(app, threads=THREADS))


def pool_of(server: Serving) -> Pool:
    assert server.server.container is not None
    return server.server.container.pool


@pytest.fixture
def server() -> Iterator[Serving]:
    with serving(make_server) as server:
        yield server


class Clients:
    """So many clients that ask for one page again and again until the block ends."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]

    def _ask(self) -> None:
        session = requests.Session()
        while not self._stopped.is_set():
            assert session.get(self._url, timeout=60).status_code == 200

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *exc_info: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(60)


def test_tasks_that_compute_run_few_at_once_and_then_many_that_wait(server: Serving) -> None:
    pool = pool_of(server)
    with Clients(server.url + "/compute"):
        poll(lambda: pool.running_limit == LEAST_RUNNING)
    with Clients(server.url + "/wait"):
        poll(lambda: pool.busy == THREADS)
    assert pool.running_limit == THREADS


def test_tasks_that_compute_for_long_do_not_keep_others_waiting(server: Serving) -> None:
    pool = pool_of(server)
    # Whatever share of a processor a busy machine leaves to the tasks, they count as computing.
    pacer = server.server.container._pacer
    pacer.late_s, pacer.computing_share, pacer.waiting_share = -1.0, 0.0, 0.0
    reports_end.clear()
    reports = [
        threading.Thread(target=requests.get, args=(f"{server.url}/report",))
        for _ in range(LEAST_RUNNING)
    ]
    for report in reports:
        report.start()
    try:
        poll(lambda: pool.busy == LEAST_RUNNING and pool.running_limit < THREADS)
        assert requests.get(f"{server.url}/wait", timeout=20).status_code == 200
        # The thread of the answer is free a moment after it has been sent.
        poll(lambda: pool.busy == LEAST_RUNNING)
    finally:
        reports_end.set()
        for report in reports:
            report.join(20)


def test_system_without_clocks_of_threads_serves_without_pacing(
    server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(time, "pthread_getcpuclockid")  # as on macOS

    with requests.get(f"{server.url}/wait", timeout=20) as answer:
        assert answer.status_code == 200


def test_tasks_that_wait_all_run_at_once(server: Serving) -> None:
    pool = pool_of(server)
    with Clients(server.url + "/wait"):
        poll(lambda: pool.busy == THREADS)
        assert pool.running_limit == THREADS


@pytest.mark.parametrize(
    ("limit", "late_s", "share", "expected"),
    [
        (16, 0.010, 0.9, LEAST_RUNNING),  # nothing runs at this moment: at the floor at once
        (16, 0.010, 0.1, 16),  # late, but not by the threads' doing
        (16, 0.001, 0.9, 16),  # computing, but in nobody's way
        (4, 0.010, 0.1, 6),  # waiting: more may run
        (2, 0.001, 0.0, 3),
    ],
)
def test_limit_follows_lateness_and_processor_time(
    limit: int, late_s: float, share: float, expected: int
) -> None:
    pool = Pool(16, 10)
    pool.running_limit = limit
    Pacer(pool).decide(late_s, share)
    assert pool.running_limit == expected
