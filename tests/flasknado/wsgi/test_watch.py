"""Threads that nobody waits for, and slow ones: named once with their stacks, and replaced."""

from __future__ import annotations

import logging
import queue
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import flask
import pytest
import requests

from flasknado import HTTPServer, WSGIContainer
from flasknado.errors import ConfigurationError
from tests.support.poll import poll
from tests.support.process import server_process
from tests.support.raw import connect
from tests.support.serving import Serving, serving

Serve = Callable[..., Serving]


@pytest.fixture
def messages() -> Iterator[queue.SimpleQueue[str]]:
    """What the views wait for; those that still wait at the end of the test get an end."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    yield waiting
    for _ in range(32):
        waiting.put("end")


@pytest.fixture
def serve(messages: queue.SimpleQueue[str]) -> Iterator[Serve]:
    """Return a function that serves an application whose views wait for `messages`."""
    app = flask.Flask("waiting")

    def wait_for_a_message() -> str:
        return messages.get()

    @app.get("/events/<topic>")
    def events(topic: str) -> flask.Response:
        def stream() -> Iterator[str]:
            yield f": {topic}\n\n"
            while (message := wait_for_a_message()) != "end":
                yield f"data: {message}\n\n"

        return flask.Response(stream(), mimetype="text/event-stream")

    @app.get("/slow/<int:number>")
    def slow(number: int) -> str:
        return f"{number} {wait_for_a_message()}"

    @app.get("/")
    def index() -> str:
        return "prompt"

    with ExitStack() as stack:

        def serve(**options: object) -> Serving:
            def make() -> HTTPServer:
                return HTTPServer(WSGIContainer(app, **options))  # type: ignore[arg-type]

            return stack.enter_context(serving(make))

        yield serve
        for _ in range(32):
            messages.put("end")


def visit(server: Serving) -> socket.socket:
    """Return a connection on which an event stream has begun."""
    sock = connect(server.address)
    sock.sendall(b"GET /events/news HTTP/1.1\r\nHost: a\r\n\r\n")
    said = b""
    while not said.endswith(b": news\n\n\r\n"):  # then the thread waits for a message
        said += sock.recv(4096)
    return sock


def stuck(server: Serving) -> int:
    container = server.server.container
    assert container is not None
    return container.stuck


def test_thread_whose_client_has_left_counts_as_stuck_and_is_named_once(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "flasknado.error"):
        server = serve(threads=4, abandoned_after_s=0.2, stream_threads=0)
        stays = visit(server)
        for _ in range(2):
            visit(server).close()
        assert poll(lambda: stuck(server), lambda count: count == 2)
        requests.get(server.url, timeout=20)
        poll(lambda: len(caplog.records), lambda count: count >= 2)
        stays.close()
        assert poll(lambda: stuck(server), lambda count: count == 3)
    assert len(caplog.records) == 3
    record = caplog.records[0]
    assert "GET /events/news (route /events/<topic>) [" in record.getMessage()
    assert "its client left 0.2 s ago; it is here:" in record.getMessage()
    assert "wait_for_a_message" in str(record.stack_info)


def test_thread_that_comes_back_is_not_stuck_any_more(
    serve: Serve, messages: queue.SimpleQueue[str]
) -> None:
    server = serve(threads=2, abandoned_after_s=0.1, stream_threads=0)
    visit(server).close()
    poll(lambda: stuck(server), lambda count: count == 1)
    messages.put("at last")
    poll(lambda: stuck(server), lambda count: count == 0)


def test_thread_whose_client_stays_is_not_stuck(serve: Serve) -> None:
    server = serve(threads=2, abandoned_after_s=0.1, slow_request_s=0.6)
    with visit(server) as sock:
        sock.settimeout(1.5)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        assert stuck(server) == 0


def test_slow_request_is_logged_once_with_its_route_and_stack(
    serve: Serve, messages: queue.SimpleQueue[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "flasknado.error"):
        server = serve(threads=2, slow_request_s=0.2)
        answers: list[str] = []
        client = threading.Thread(
            target=lambda: answers.append(requests.get(server.url + "/slow/7", timeout=20).text)
        )
        client.start()
        poll(lambda: caplog.records)
        requests.get(server.url, timeout=20)
        with pytest.raises(AssertionError):
            poll(lambda: len(caplog.records) > 1, deadline_s=1.2)
        messages.put("done")
        client.join(20)
        assert answers == ["7 done"]
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    said = re.search(
        r"GET /slow/7 \(route /slow/<int:number>\) \[.*\] for (\d+\.\d) s; which",
        record.getMessage(),
    )
    assert said is not None
    assert 0.2 <= float(said[1]) < 10
    assert "wait_for_a_message" in str(record.stack_info)
    assert stuck(server) == 0


def test_requests_behind_hanging_threads_are_shed_by_age(serve: Serve) -> None:
    server = serve(threads=2, queue_timeout_s=0.3, stream_threads=0)
    with visit(server), visit(server):
        answer = requests.get(server.url, timeout=20)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize("name", ["slow_request_s", "abandoned_after_s"])
def test_time_that_is_no_time_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be more than 0 seconds, not 0"):
        WSGIContainer(flask.Flask("a"), **{name: 0})


APP = """
import queue, os, flask
app = flask.Flask("visited")
waiting = queue.SimpleQueue()
kept = []

@app.get("/events")
def events():
    def stream():
        yield ": begun\\n\\n"
        while True:
            yield f"data: {waiting.get()}\\n\\n"
    return flask.Response(stream(), mimetype="text/event-stream")

@app.get("/grow")
def grow():
    kept.append(bytearray(os.urandom(1024)) * (64 * 1024))
    return str(os.getpid())

@app.get("/")
def index():
    return str(os.getpid())
"""


@pytest.mark.parametrize(
    ("own", "told"),
    [
        (("--stream-threads", "0"), "8 of 8 threads are stuck"),
        (("--stream-threads", "8", "--stuck-share", "1"), "8 of 8 stream threads are stuck"),
    ],
)
def test_worker_whose_visitors_left_it_hanging_is_replaced_and_answers_go_on(
    own: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    (tmp_path / "visited.py").write_text(APP)
    options = ("--abandoned-after", "0.5", "--threads", "8", "--graceful-timeout", "3", *own)
    command = ("-m", "flasknado", "--bind", "127.0.0.1:0", *options, "visited:app")
    with server_process(command, cwd=tmp_path) as server:
        first = requests.get(server.url, timeout=20).text
        for _ in range(8):
            with connect(("127.0.0.1", server.port)) as sock:
                sock.sendall(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
                said = b""
                while b": begun" not in said:
                    said += sock.recv(4096)
        server.wait_for_output(told)
        assert poll(lambda: requests.get(server.url, timeout=20).text, lambda pid: pid != first)
        server.wait_for_output(r"\(recycle\)")
        assert server.output.count("its client left 0.5 s ago") == 8


def test_worker_that_takes_too_much_memory_is_replaced_before_it_goes(tmp_path: Path) -> None:
    (tmp_path / "visited.py").write_text(APP)
    options = ("--max-memory", "400M", "visited:app")
    command = ("-m", "flasknado", "--bind", "127.0.0.1:0", *options)
    with server_process(command, cwd=tmp_path) as server:
        first = requests.get(server.url, timeout=20).text
        for _ in range(7):
            assert requests.get(server.url + "/grow", timeout=20).ok
        server.wait_for_output(r"takes \d+ bytes of memory, more than max_memory")
        server.wait_for_output(r"(?s)asked to be replaced.*Serving as worker.*\(recycle\)")
        assert poll(lambda: requests.get(server.url, timeout=20).text, lambda pid: pid != first)


def test_limit_of_memory_that_no_worker_can_keep_is_said_and_not_heeded(tmp_path: Path) -> None:
    (tmp_path / "visited.py").write_text(APP)
    command = ("-m", "flasknado", "--bind", "127.0.0.1:0", "--max-memory", "1M", "visited:app")
    with server_process(command, cwd=tmp_path) as server:
        server.wait_for_output("max_memory is 1048576 bytes, but a newly booted worker takes")
        assert requests.get(server.url, timeout=20).ok
        assert "asked to be replaced" not in server.output
