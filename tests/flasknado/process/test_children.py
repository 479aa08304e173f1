"""Processes that a view forks hurt nobody: no signal, no connection and no port is theirs."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.poll import poll
from tests.support.process import DEADLINE_S, ServerProcess, server_process

APP = """
import concurrent.futures, multiprocessing, os, signal, subprocess, sys, time, flask

app = flask.Flask("forking")
children = []

def square(number):
    return number * number

def die(number):
    os._exit(1)

@app.get("/")
def index():
    return str(os.getpid())

@app.get("/pool/<method>")
def pool(method):
    with multiprocessing.get_context(method).Pool(2) as workers:
        return str(workers.map(square, range(4)))

@app.get("/terminate/<method>")
def terminate(method):
    child = multiprocessing.get_context(method).Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    child.join()
    return str(child.exitcode)

@app.get("/broken-executor")
def broken_executor():
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        try:
            return str(list(executor.map(die, range(4))))
        except concurrent.futures.process.BrokenProcessPool:
            return "broken"

@app.get("/hold")
def hold():
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    return str(child)

@app.get("/program")
def program():
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    child = subprocess.Popen(sleep, close_fds=False)
    children.append(child)
    return str(child.pid)

@app.get("/return-in-both")
def return_in_both():
    return str(os.fork())
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    (tmp_path / "forking.py").write_text(APP)
    command = ("-m", "flasknado.process.cli", "-b", "127.0.0.1:0", "forking:app")
    with server_process(command, cwd=tmp_path) as running:
        yield running


def ask(server: ServerProcess, path: str = "/") -> str:
    answer = requests.get(server.url + path, timeout=60)
    assert answer.status_code == 200, server.output
    return answer.text


def connected(server: ServerProcess) -> socket.socket:
    """Return a connection on which one request has been answered."""
    client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert client.recv(65536).startswith(b"HTTP/1.1 200")
    return client


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/pool/fork", "[0, 1, 4, 9]"),
        ("/pool/spawn", "[0, 1, 4, 9]"),
        ("/terminate/fork", str(-signal.SIGTERM)),
        ("/terminate/spawn", str(-signal.SIGTERM)),
        ("/broken-executor", "broken"),
    ],
)
def test_view_with_processes_of_its_own_leaves_the_worker_serving(
    server: ServerProcess, path: str, answer: str
) -> None:
    before = ask(server)
    with connected(server) as bystander:
        for _ in range(3):
            assert ask(server, path) == answer
        bystander.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert bystander.recv(65536).startswith(b"HTTP/1.1 200")
    assert ask(server) == before
    assert "Draining" not in server.output


def test_views_with_process_pools_under_load_fail_no_request_of_others(
    server: ServerProcess,
) -> None:
    pools_end = threading.Event()
    statuses: list[int] = []

    def ask_on() -> None:
        session = requests.Session()
        while not pools_end.is_set():
            statuses.append(session.get(server.url + "/", timeout=60).status_code)

    others = [threading.Thread(target=ask_on) for _ in range(2)]
    for other in others:
        other.start()
    try:
        for _ in range(2):
            assert ask(server, "/pool/fork") == "[0, 1, 4, 9]"
    finally:
        pools_end.set()
        for other in others:
            other.join(60)
    assert set(statuses) == {200}
    assert "Draining" not in server.output


@pytest.mark.parametrize("path", ["/hold", "/program"])
def test_child_that_lives_on_holds_neither_connections_nor_the_port(
    server: ServerProcess, path: str
) -> None:
    with connected(server) as bystander:
        child = int(ask(server, path))
        try:
            bystander.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            received = b""
            while part := bystander.recv(65536):
                received += part
            assert received.startswith(b"HTTP/1.1 200")
            os.kill(server.pid, signal.SIGTERM)
            assert server.process.wait(DEADLINE_S) == 0  # its output is the child's, too
            os.kill(child, 0)  # it lives
            with socket.socket() as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                other.bind(("127.0.0.1", server.port))
                other.listen()
        finally:
            os.kill(child, signal.SIGKILL)


def test_child_that_returns_from_its_view_ends_and_answers_nobody(server: ServerProcess) -> None:
    with connected(server) as client:
        client.sendall(b"GET /return-in-both HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = client.recv(65536)
        child = int(answer.partition(b"\r\n\r\n")[2])
        assert child > 0
        server.wait_for_output("a task forked a process that returned from it")
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(65536).count(b"HTTP/1.1") == 1
    stat = Path(f"/proc/{child}/stat")
    poll(lambda: not stat.exists() or stat.read_text().split(") ")[1][0] == "Z")
