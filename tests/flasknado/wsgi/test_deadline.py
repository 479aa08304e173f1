"""Requests that run too long: 504 in time, a stack in the log, a worker that is replaced."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path

import flask
import pytest
import requests

from flasknado import HTTPServer, WSGIContainer
from tests.support.poll import poll
from tests.support.process import server_process
from tests.support.serving import Serving, serving

DEADLINE_S = 0.3


def hang_here(released: threading.Event) -> str:
    released.wait(60)
    return "too late"


def make_server(released: threading.Event) -> HTTPServer:
    app = flask.Flask("deadline")

    @app.get("/hang")
    def hang() -> str:
        return hang_here(released)

    @app.get("/late-stream")
    def late_stream() -> flask.Response:
        hang_here(released)
        return flask.Response(iter(["never", "seen"]))

    @app.get("/slow-stream")
    def slow_stream() -> flask.Response:
        def parts():  # type: ignore[no-untyped-def]
            yield "begun "
            hang_here(released)
            yield "and ended"

        return flask.Response(parts())

    @app.get("/")
    def index() -> str:
        return "prompt"

    return HTTPServer(WSGIContainer(app, threads=2, request_timeout_s=DEADLINE_S))


def stuck(server: Serving) -> int:
    container = server.server.container
    assert container is not None
    return container.stuck


def test_request_that_hangs_is_answered_504_and_its_stack_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    released = threading.Event()
    with (
        caplog.at_level(logging.ERROR, "flasknado.error"),
        serving(lambda: make_server(released)) as server,
    ):
        session = requests.Session()
        answer = session.get(server.url + "/hang", timeout=20)
        assert answer.status_code == 504
        assert "in hang_here" in caplog.text
        assert stuck(server) == 1
        assert session.get(server.url + "/", timeout=20).text == "prompt"
        released.set()
        poll(lambda: stuck(server) == 0)
        # What the thread answered in the end reached nobody: the connection is in step.
        assert session.get(server.url + "/", timeout=20).text == "prompt"


def test_stream_that_begins_after_its_504_is_dropped() -> None:
    released = threading.Event()
    with serving(lambda: make_server(released)) as server:
        session = requests.Session()
        assert session.get(server.url + "/late-stream", timeout=20).status_code == 504
        released.set()
        poll(lambda: stuck(server) == 0)
        assert session.get(server.url + "/", timeout=20).text == "prompt"


def test_stream_that_has_begun_in_time_goes_on() -> None:
    released = threading.Event()
    with serving(lambda: make_server(released)) as server:
        with requests.get(server.url + "/slow-stream", stream=True, timeout=20) as answer:
            content = answer.iter_content(chunk_size=None)
            assert next(content) == b"begun "
            threading.Timer(3 * DEADLINE_S, released.set).start()
            assert b"".join(content) == b"and ended"
        assert stuck(server) == 0


def test_request_that_waits_when_the_drain_ends_is_answered_503() -> None:
    released = threading.Event()
    answers: list[int] = []

    def ask(path: str) -> None:
        try:
            answers.append(requests.get(url + path, timeout=20).status_code)
        except requests.ConnectionError:
            answers.append(0)

    with serving(lambda: hanging_server(released)) as server:
        url = server.url
        clients = [threading.Thread(target=ask, args=("/hang",)) for _ in range(2)]
        clients[0].start()
        container = server.server.container
        assert container is not None
        poll(lambda: container.pool.busy == 1)
        clients[1].start()
        poll(lambda: container.pool.queued == 1)
        drained = asyncio.run_coroutine_threadsafe(server.server.drain(0.3), server.loop)
        assert drained.result(20) is False
        clients[1].join(20)
        released.set()
        clients[0].join(20)
    assert sorted(answers) == [0, 503]


def hanging_server(released: threading.Event) -> HTTPServer:
    app = flask.Flask("hanging")
    app.get("/hang")(lambda: hang_here(released))
    return HTTPServer(WSGIContainer(app, threads=1, stream_threads=0))


APP = """
import threading, flask
app = flask.Flask("stuck")

@app.get("/hang")
def hang():
    threading.Event().wait()

@app.get("/")
def index():
    return "prompt"
"""


def test_worker_with_too_many_stuck_threads_is_replaced_and_leaves(tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text(APP)
    command = (
        "-m",
        "flasknado.process.cli",
        "-b",
        "127.0.0.1:0",
        "--threads",
        "2",
        "--stuck-share",
        "1",
    )
    options = ("--request-timeout", "0.5", "--graceful-timeout", "2", "stuck:app")
    with server_process((*command, *options), cwd=tmp_path) as server:
        for _ in range(2):
            assert requests.get(server.url + "/hang", timeout=20).status_code == 504
        server.wait_for_output("2 of 2 threads are stuck")
        server.wait_for_output("(?s)Serving as worker.*Serving as worker.*(recycle)")
        # The one that leaves may have taken the connection: then it says to come again.
        answers = {503, 200}
        assert requests.get(server.url, timeout=20).status_code in answers
        poll(lambda: server.output.count("Worker exiting") == 1)
        assert requests.get(server.url, timeout=20).text == "prompt"
        assert 'stuck.py", line 7, in hang' in server.output
