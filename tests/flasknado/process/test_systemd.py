"""What the service manager hears, on a datagram socket of the test's own."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.support.process import ServerProcess, server_process

APP = """
import os, time, flask, tornado.web
while os.path.exists("wait"):
    time.sleep(0.01)
app = flask.Flask("noticed")

@app.get("/")
def index():
    return "hello"

class Freeze(tornado.web.RequestHandler):
    def get(self):
        time.sleep(600)

routes = [(r"/freeze", Freeze)]
"""
DEADLINE_S = 20.0

only_path = pytest.mark.parametrize("place", ["path"], indirect=True)


class Manager:
    """systemd, as far as sd_notify(3) goes."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.heard: list[str] = []

    def wait_for(self, pattern: str, deadline_s: float = DEADLINE_S) -> re.Match[str]:
        """Return the first message from now on that matches; all of them are kept."""
        ends = time.monotonic() + deadline_s
        while True:
            self.socket.settimeout(max(0.01, ends - time.monotonic()))
            try:
                message = self.socket.recv(4096).decode()
            except TimeoutError:
                raise AssertionError(f"no {pattern!r} in {self.heard}") from None
            self.heard.append(message)
            match = re.fullmatch(pattern, message)
            if match is not None:
                return match

    def hear_for(self, seconds: float) -> list[str]:
        """Return what comes in a while."""
        known = len(self.heard)
        with pytest.raises(AssertionError, match="no 'NEVER'"):
            self.wait_for("NEVER", seconds)
        return self.heard[known:]


@pytest.fixture(params=["path", "abstract"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "path" else f"@flasknado-{tmp_path}"


@pytest.fixture
def manager(place: str) -> Iterator[Manager]:
    manager = Manager(place.replace("@", "\0", 1))
    with manager.socket:
        yield manager


@pytest.fixture
def serve(tmp_path: Path, place: str, manager: Manager) -> Iterator[Callable[..., ServerProcess]]:
    """Return a function that serves the application under the manager until the test ends."""
    assert manager
    (tmp_path / "noticed.py").write_text(APP)
    with ExitStack() as stack:

        def serve(*options: str, ready: bool = True, **env: str) -> ServerProcess:
            command = ("-m", "flasknado", "--bind", "127.0.0.1:0", *options)
            arguments = (*command, "--handlers", "noticed:routes", "noticed:app")
            return stack.enter_context(
                server_process(
                    arguments, cwd=tmp_path, ready=ready, env={"NOTIFY_SOCKET": place, **env}
                )
            )

        yield serve


def test_service_is_ready_once_a_worker_serves(
    serve: Callable[..., ServerProcess], manager: Manager, tmp_path: Path
) -> None:
    (tmp_path / "wait").touch()
    server = serve(ready=False)
    server.wait_for_output("Booting worker")
    assert not any("READY" in message for message in manager.hear_for(0.5))
    (tmp_path / "wait").unlink()
    manager.wait_for("READY=1")
    server.wait_for_output("Serving as worker")
    server.signal(signal.SIGTERM)
    manager.wait_for("STOPPING=1")
    assert server.wait() == 0
    assert manager.heard.count("READY=1") == 1


@only_path
def test_reload_is_told_when_it_begins_and_when_it_is_over(
    serve: Callable[..., ServerProcess], manager: Manager, tmp_path: Path
) -> None:
    server = serve("-w", "2")
    manager.wait_for("READY=1")
    before = time.monotonic_ns() // 1000
    server.signal(signal.SIGHUP)
    said = manager.wait_for(r"RELOADING=1\nMONOTONIC_USEC=(\d+)")
    assert before <= int(said[1]) <= time.monotonic_ns() // 1000
    manager.wait_for("READY=1")
    server.wait_for_output("Reloaded: generation 2 serves")
    # One that fails ends, too: the old workers serve.
    (tmp_path / "noticed.py").write_text("1 / 0")
    server.signal(signal.SIGHUP)
    manager.wait_for(r"RELOADING=1\nMONOTONIC_USEC=\d+")
    manager.wait_for("READY=1")
    (tmp_path / "gunicorn.conf.py").write_text("workers = 0")
    server.signal(signal.SIGHUP)
    manager.wait_for(r"RELOADING=1\nMONOTONIC_USEC=\d+")
    manager.wait_for("READY=1")


@only_path
def test_status_has_numbers(serve: Callable[..., ServerProcess], manager: Manager) -> None:
    server = serve("-w", "2", "--threads", "3")
    with requests.Session() as session:
        session.get(server.url, timeout=10)
        manager.wait_for(
            "STATUS=2 of 2 workers serve: 1 connections, 0 of 6 threads busy, 0 requests waiting"
        )


@only_path
def test_watchdog_is_fed_while_a_loop_turns_and_no_longer(
    serve: Callable[..., ServerProcess], manager: Manager
) -> None:
    server = serve("--timeout", "60", WATCHDOG_USEC="1500000")
    for _ in range(3):
        manager.wait_for("WATCHDOG=1", 2.0)
    with requests.Session() as session, pytest.raises(requests.Timeout):
        session.get(server.url + "/freeze", timeout=4)
    manager.hear_for(1.5)
    assert "WATCHDOG=1" not in manager.hear_for(1.5)
    server.signal(signal.SIGQUIT)
    manager.wait_for("STOPPING=1")
    os.kill(int(server.wait_for_output(r"Serving as worker with pid: (\d+)")[1]), signal.SIGKILL)


@only_path
def test_watchdog_of_another_process_is_left_alone(
    serve: Callable[..., ServerProcess], manager: Manager
) -> None:
    serve(WATCHDOG_USEC="300000", WATCHDOG_PID="1")
    assert "WATCHDOG=1" not in manager.hear_for(1.0)


@only_path
def test_successor_is_named_when_an_arbiter_has_started_another(
    serve: Callable[..., ServerProcess], manager: Manager
) -> None:
    server = serve(WATCHDOG_USEC="1500000")
    manager.wait_for("READY=1")
    server.signal(signal.SIGUSR2)
    listening = server.wait_for_output(r"(?s)Listening at.*Listening at: \S+ \((\d+)\)")
    successor = int(listening[1])
    try:
        server.wait_for_output(r"(?s)Serving as worker.*Serving as worker")
        server.signal(signal.SIGTERM)
        manager.wait_for(f"MAINPID={successor}")
        server.process.wait(30)
        manager.hear_for(0.2)
        manager.wait_for("WATCHDOG=1")
    finally:
        os.kill(successor, signal.SIGTERM)
    manager.wait_for("STOPPING=1")
