from __future__ import annotations

import threading

import flask
import requests

from flasknado import HTTPServer, WSGIContainer, ops
from flasknado.ops.health import Readiness
from tests.support.poll import poll
from tests.support.serving import serving


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
        assert ready.json() == {"status": "ready", "checks": {"server": "ok", "database": "ok"}}
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


def test_readiness_before_the_first_check_ends_is_not_ok() -> None:
    release = threading.Event()
    readiness = Readiness({"slow": lambda: release.wait(30)})
    readiness.start()
    try:
        assert readiness.results() == {"slow": "checking"}
    finally:
        release.set()
        readiness.stop()
