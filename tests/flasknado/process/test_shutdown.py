"""The end of a worker is Python's own: nothing that was to happen at exit is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.support.poll import poll
from tests.support.process import ServerProcess, server_process

APP = """
import atexit, concurrent.futures, multiprocessing, os, threading, time, flask

app = flask.Flask("ending")
executor = concurrent.futures.ThreadPoolExecutor(1)
said = os.path.join(os.path.dirname(os.path.abspath(__file__)), "said")

def say(word):
    with open(said, "a") as file:
        file.write(word + "\\n")

def say_late(word, delay_s):
    time.sleep(delay_s)
    say(word)

atexit.register(say, "atexit")

@app.get("/")
def index():
    return str(os.getpid())

@app.get("/begin")
def begin():
    threading.Thread(target=say_late, args=("thread", 0.5), daemon=False).start()
    executor.submit(say_late, "job", 0.5)
    return str(os.getpid())

@app.get("/pool")
def pool():
    app.pool = concurrent.futures.ProcessPoolExecutor(
        2, mp_context=multiprocessing.get_context("fork")
    )
    return " ".join(str(pid) for pid in set(app.pool.map(child_of, range(8))))

def child_of(number):
    time.sleep(0.05)
    return os.getpid()

@app.get("/hang")
def hang():
    threading.Thread(target=hang_forever, name="hanging-thread", daemon=False).start()
    return "hanging"

def hang_forever():
    time.sleep(600)
"""

HOOKS = """
def worker_exit(server, worker):
    print("worker_exit", type(server).__name__, worker.pid, flush=True)
"""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Return a function that serves the application with more options until the test ends."""
    (tmp_path / "ending.py").write_text(APP)
    (tmp_path / "settings.py").write_text(HOOKS)
    with ExitStack() as stack:

        def serve(*options: str) -> ServerProcess:
            command = ("-m", "flasknado.process.cli", "-b", "127.0.0.1:0", "-c", "settings.py")
            command = (*command, *options, "ending:app")
            return stack.enter_context(server_process(command, cwd=tmp_path))

        yield serve


def ask(server: ServerProcess, path: str = "/") -> str:
    return requests.get(server.url + path, timeout=30).text


def end_by(server: ServerProcess, way: str) -> None:
    """End the worker in one of the three ways."""
    if way == "reload":
        server.signal(signal.SIGHUP)
    elif way == "shutdown":
        server.signal(signal.SIGTERM)
    # recycle: it has answered as many requests as it may


def options_for(way: str) -> tuple[str, ...]:
    return ("--max-requests", "1") if way == "recycle" else ()


WAYS = ["shutdown", "reload", "recycle"]


@pytest.mark.parametrize("way", WAYS)
def test_thread_job_and_exit_function_are_done_however_the_worker_ends(
    serve: Callable[..., ServerProcess], tmp_path: Path, way: str
) -> None:
    server = serve(*options_for(way))
    pid = ask(server, "/begin")
    end_by(server, way)
    said = tmp_path / "said"
    poll(lambda: said.read_text().split() if said.exists() else [], lambda words: len(words) >= 3)
    assert sorted(said.read_text().split()[:3]) == ["atexit", "job", "thread"]
    assert said.read_text().split()[2] == "atexit"  # as in any Python program
    server.wait_for_output(rf"worker_exit Arbiter {pid}\b")
    assert server.output.count(f"worker_exit Arbiter {pid}") == 1


@pytest.mark.parametrize("way", WAYS)
def test_children_of_a_process_pool_end_with_the_worker(
    serve: Callable[..., ServerProcess], way: str
) -> None:
    server = serve(*options_for(way))
    children = [int(pid) for pid in ask(server, "/pool").split()]
    assert children
    end_by(server, way)
    poll(lambda: not any(_lives(pid) for pid in children))


def test_thread_that_hangs_is_named_with_its_stack_and_left_in_time(
    serve: Callable[..., ServerProcess],
) -> None:
    server = serve("--graceful-timeout", "3")
    ask(server, "/hang")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert "what held it up" in server.output
    assert "thread hanging-thread" in server.output
    assert "in hang_forever" in server.output
    assert "killed" not in server.output


def test_worker_exit_hook_is_called_once_when_the_worker_stops_at_once(
    serve: Callable[..., ServerProcess],
) -> None:
    server = serve()
    pid = ask(server)
    server.signal(signal.SIGQUIT)
    assert server.wait() == 0
    assert server.output.count("worker_exit") == 1
    assert f"worker_exit Arbiter {pid}" in server.output


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
