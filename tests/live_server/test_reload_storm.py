"""The judge of the processes: workers are changed and killed under 50 clients that never rest."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from flasknado.server import LAYERS
from tests.live_server.storm import Ask, Storm
from tests.support.poll import poll
from tests.support.process import ServerProcess, server_process

REQUESTS = 20_000
CLIENTS = 50
DEADLINE_S = 90.0

APP = """
import os
import threading
import flask

app = flask.Flask("stormy")
ME = f"VERSION {os.getpid()}"
pause = threading.Event()

@app.get("/")
def index():
    return ME

@app.put("/put")
def put():
    return f"{ME} took {len(flask.request.get_data())}"

@app.get("/slow")
def slow():
    pause.wait(0.02)
    return ME

@app.get("/stream")
def stream():
    def parts():
        yield ME
        for n in range(4):
            pause.wait(0.005)
            yield f" {n}"
    return flask.Response(parts())
"""

_ME = rb"(?P<version>one|two|three) (?P<pid>\d+)"
_BODY = b"x" * 3000


def ask(line: str, answer: bytes, body: bytes = b"", fields: str = "") -> Ask:
    head = f"{line} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}"
    if body:
        head += f"Content-Length: {len(body)}\r\n"
    return Ask(head.encode() + b"\r\n" + body, re.compile(answer))


INDEX = ask("GET /", rb"\A" + _ME + rb"\Z")
LAST = ask("GET /", rb"\A" + _ME + rb"\Z", fields="Connection: close\r\n")
PUT = ask("PUT /put", rb"\A" + _ME + rb" took 3000\Z", _BODY)
SLOW = ask("GET /slow", rb"\A" + _ME + rb"\Z")
STREAM = ask("GET /stream", _ME + rb"\r\n2\r\n 0\r\n2\r\n 1\r\n2\r\n 2\r\n2\r\n 3\r\n")
ASKS = [*[INDEX] * 6, LAST, *[INDEX] * 5, PUT, *[INDEX] * 3, SLOW, PUT, LAST, STREAM]
"""One request in ten ends its connection, so that new ones arrive in every moment, too."""


def write_app(folder: Path, version: str, extra: str = "") -> None:
    (folder / "stormy.py").write_text(extra + APP.replace("VERSION", version))


def serving_pids(server: ServerProcess) -> list[int]:
    """Return the workers that serve, oldest first."""
    started = re.findall(r"Serving as worker with pid: (\d+)", server.output)
    gone = re.findall(r"Worker exiting \(pid: (\d+)\)", server.output)
    return [int(pid) for pid in started if pid not in gone]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("layer", LAYERS)
def test_storm_through_reloads_and_a_killed_worker_loses_only_what_was_in_flight_there(
    layer: str, tmp_path: Path
) -> None:
    write_app(tmp_path, "one")
    options = ("-b", "127.0.0.1:0", "-w", "2", "--http", layer)
    command = ("-m", "flasknado.process.cli", *options, "stormy:app")
    with server_process(command, cwd=tmp_path) as server:
        poll(lambda: len(serving_pids(server)) == 2)
        storm = Storm(server.port, ASKS, requests=REQUESTS, clients=CLIENTS)
        storm.start()

        def wait_for(share: float) -> None:
            poll(lambda: storm.answered >= REQUESTS * share, deadline_s=DEADLINE_S)

        wait_for(0.1)
        write_app(tmp_path, "two")
        server.signal(signal.SIGHUP)
        server.wait_for_output("Reloaded: generation 2 serves")

        wait_for(0.3)
        write_app(tmp_path, "broken", "import a_module_that_is_not_there\n")
        server.signal(signal.SIGHUP)
        server.wait_for_output("the reload failed, the old workers keep serving")

        wait_for(0.5)
        write_app(tmp_path, "three")
        server.signal(signal.SIGHUP)
        server.wait_for_output("Reloaded: generation 4 serves")
        poll(lambda: len(serving_pids(server)) == 2, deadline_s=DEADLINE_S)
        wait_for(0.75)
        assert storm.failures == [], "a reload lost requests"

        killed = serving_pids(server)[0]
        os.kill(killed, signal.SIGKILL)
        server.wait_for_output("died: SIGKILL")
        storm.join(DEADLINE_S)
        assert not storm.is_alive(), f"only {storm.answered} were answered"
        poll(lambda: server.output.count("Serving as worker") == 7)

    # A request on a new connection may have been taken by the killed worker, too.
    assert {failure.worker for failure in storm.failures} <= {killed, 0}
    assert len({failure.client for failure in storm.failures}) == len(storm.failures)
    assert storm.answered == REQUESTS - len(storm.failures)
    assert sorted(storm.versions) == [b"one", b"three", b"two"]
