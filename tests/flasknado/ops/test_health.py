from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator

import flask
import pytest
import requests

from flasknado import HTTPServer, WSGIContainer, ops
from flasknado.ops import health
from flasknado.ops.health import Readiness
from tests.support.poll import poll
from tests.support.raw import connect
from tests.support.serving import Serving, serving


class Database:
    """A database that can be told to fail, or to hang."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def ping(self) -> None:
        if self.error is not None:
            raise self.error


def make_server(database: Database, hanging: threading.Event | None = None) -> HTTPServer:
    app = flask.Flask("ops")

    @app.get("/hang")
    def hang() -> str:
        assert hanging is not None
        hanging.wait(30)
        return "released"

    server = HTTPServer(
        WSGIContainer(app, threads=1),
        settings={"readiness_checks": {"database": database.ping}},
    )
    ops.install(server)
    return server


def test_readiness_while_the_database_answers_is_200() -> None:
    with serving(lambda: make_server(Database())) as server:
        ready = poll(lambda: requests.get(server.url + "/-/readyz", timeout=5), lambda r: r.ok)
        assert ready.json() == {
            "status": "ready",
            "checks": {"server": "ok", "database": "ok", "threads": "ok"},
        }
        assert ready.headers["Cache-Control"] == "no-store"


def test_readiness_while_the_database_fails_is_503_and_hides_the_reason() -> None:
    database = Database()
    database.error = RuntimeError("password=hunter2")
    with serving(lambda: make_server(database)) as server:
        answer = poll(
            lambda: requests.get(server.url + "/-/readyz", timeout=5),
            lambda r: r.json()["checks"]["database"] == "failing",
        )
        assert answer.status_code == 503
        assert "hunter2" not in answer.text
        assert requests.get(server.url + "/-/healthz", timeout=5).status_code == 200


def test_readiness_while_draining_is_503() -> None:
    with serving(lambda: make_server(Database())) as server:
        poll(lambda: requests.get(server.url + "/-/readyz", timeout=5), lambda r: r.ok)
        server.on_loop(lambda: setattr(server.server, "draining", True))
        answer = requests.get(server.url + "/-/readyz", timeout=5)
        assert answer.status_code == 503
        assert answer.json()["checks"]["server"] == "draining"


def test_health_and_metrics_while_every_thread_hangs_are_answered() -> None:
    released = threading.Event()
    with serving(lambda: make_server(Database(), released)) as server:
        client = threading.Thread(target=requests.get, args=(server.url + "/hang",))
        client.start()
        try:
            metrics = poll(
                lambda: requests.get(server.url + "/-/metrics", timeout=5).text,
                lambda text: (
                    "flasknado_pool_threads_busy" in text
                    and any(
                        line.startswith("flasknado_pool_threads_busy{") and line.endswith(" 1.0")
                        for line in text.splitlines()
                    )
                ),
            )
            assert "flasknado_pool_queue_limit" in metrics
            assert requests.get(server.url + "/-/healthz", timeout=5).json() == {"status": "ok"}
        finally:
            released.set()
            client.join(30)


def test_metrics_for_a_client_behind_a_proxy_are_refused() -> None:
    def make() -> HTTPServer:
        server = HTTPServer(WSGIContainer(flask.Flask("x")), trusted_proxies=["127.0.0.1"])
        ops.install(server)
        return server

    with serving(make) as server:
        answer = requests.get(
            server.url + "/-/metrics", headers={"X-Forwarded-For": "203.0.113.9"}, timeout=5
        )
        assert answer.status_code == 403
        assert requests.get(server.url + "/-/metrics", timeout=5).status_code == 200


def test_check_that_hangs_is_failing_and_asked_again_by_another_thread(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(health, "CHECK_TIMEOUT_S", 0.3)
    monkeypatch.setattr(health, "CHECK_INTERVAL_S", 0.02)
    release, hangs = threading.Event(), threading.Event()
    called = threading.Semaphore(0)

    def check() -> None:
        if hangs.is_set():
            called.release()
            release.wait(30)

    readiness = Readiness({"database": check})
    readiness.start()
    try:
        poll(readiness.results, lambda results: results == {"database": "ok"})
        hangs.set()
        poll(readiness.results, lambda results: results == {"database": "failing"})
        # As many as may hang, and one more that hangs in their place.
        for _ in range(health.HUNG_LIMIT + 1):
            poll(lambda: readiness.results() and called.acquire(blocking=False))
        hangs.clear()
        release.set()
        poll(readiness.results, lambda results: results == {"database": "ok"})
        assert "readiness check database has not returned" in caplog.text
    finally:
        release.set()
        readiness.stop()
    names = "flasknado-readiness-database"
    poll(lambda: [t.name for t in threading.enumerate()], lambda alive: names not in alive)


def test_check_comes_back_although_a_call_of_it_hangs_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "CHECK_TIMEOUT_S", 0.3)
    monkeypatch.setattr(health, "CHECK_INTERVAL_S", 0.02)
    release, calls = threading.Event(), iter([True])

    readiness = Readiness({"database": lambda: next(calls, False) and release.wait(30)})
    readiness.start()
    try:
        assert readiness.results() == {"database": "checking"}
        poll(readiness.results, lambda results: results == {"database": "ok"})
    finally:
        release.set()
        readiness.stop()


def test_check_whose_thread_could_not_be_started_is_made_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    readiness = Readiness({"database": lambda: None})
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        readiness.start()
        assert readiness.results() == {"database": "checking"}
    try:
        poll(readiness.results, lambda results: results == {"database": "ok"})
    finally:
        readiness.stop()


@pytest.mark.parametrize("timeout", [None, 0.1])
def test_readiness_while_half_of_the_threads_hang_is_503(timeout: float | None) -> None:
    app, released = flask.Flask("stuck"), threading.Event()

    @app.get("/hang")
    def hang() -> str:
        released.wait(30)
        return "released"

    @app.get("/stream")
    def stream() -> flask.Response:
        def chunks() -> Iterator[str]:
            yield "begun"
            released.wait(30)

        return flask.Response(chunks())

    def make() -> HTTPServer:
        server = HTTPServer(WSGIContainer(app, threads=4, request_timeout_s=timeout))
        ops.install(server, stuck_after_s=0.3)
        return server

    def checks(served: Serving) -> dict[str, str]:
        found: dict[str, str] = requests.get(served.url + "/-/readyz", timeout=5).json()["checks"]
        return found

    with serving(make) as served, contextlib.ExitStack() as stack:
        stack.callback(released.set)
        # One that has begun its response is busy, and not stuck.
        for path in ("stream", "hang"):
            stack.enter_context(connect(served.address)).sendall(ask(path))
        text = poll(
            lambda: requests.get(served.url + "/-/metrics", timeout=5).text,
            lambda text: re.search("flasknado_pool_threads_hanging{.*} 1.0", text),
        )
        assert "flasknado_pool_threads_busy" in text
        assert checks(served)["threads"] == "ok"
        stack.enter_context(connect(served.address)).sendall(ask("hang"))
        poll(lambda: checks(served), lambda found: found["threads"] == "failing")
        assert requests.get(served.url + "/-/readyz", timeout=5).status_code == 503
        released.set()
        poll(lambda: checks(served), lambda found: found["threads"] == "ok")


def ask(path: str) -> bytes:
    return f"GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


def test_readiness_before_the_first_check_ends_is_not_ok() -> None:
    release = threading.Event()
    readiness = Readiness({"slow": lambda: release.wait(30)})
    readiness.start()
    try:
        assert readiness.results() == {"slow": "checking"}
    finally:
        release.set()
        readiness.stop()
