"""Servers as processes: ready when they answer, failing aloud, gone with all their children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtests import processes
from loadtests.processes import Cores, ServerFailed, free_port, group_members, running
from loadtests.servers import Target
from tests.loadtests.fakes import program_server
from tests.support.poll import poll
from tests.support.process import PROJECT_ROOT

SERVE = ("-m", "http.server", "{port}", "--bind", "127.0.0.1")
WITH_A_CHILD = (
    "import subprocess, sys;"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "from http.server import *;"
    "ThreadingHTTPServer(('127.0.0.1', {port}), SimpleHTTPRequestHandler).serve_forever()"
)
INTERRUPTED = """
import sys
from loadtests.interrupts import Interrupted, interruptible
from loadtests.processes import free_port, running
from loadtests.servers import Target
from tests.loadtests.fakes import program_server
import time

try:
    with interruptible():
        with running(program_server("served", *sys.argv[2:]), Target(free_port(), sys.argv[1])):
            print("ready", flush=True)
            time.sleep(60)
except Interrupted:
    sys.exit(130)
"""


def target(folder: Path) -> Target:
    return Target(free_port(), str(folder))


def test_running_server_answers_and_is_gone_afterwards(tmp_path: Path) -> None:
    with running(program_server("files", *SERVE), target(tmp_path)) as process:
        assert processes.answers(process.target.port, "/")
        assert process.resident_bytes() > 1_000_000
        assert process.processor_s() > 0

    assert not processes.answers(process.target.port, "/")
    assert group_members(process.pid) == []


def test_running_server_takes_its_children_with_it(tmp_path: Path) -> None:
    with running(program_server("parent", "-c", WITH_A_CHILD), target(tmp_path)) as process:
        assert len(group_members(process.pid)) == 2

    assert group_members(process.pid) == []


def test_running_server_that_ends_while_starting_fails_with_its_last_words(tmp_path: Path) -> None:
    server = program_server("broken", "-c", "raise SystemExit('no such setting')")

    with (
        pytest.raises(ServerFailed, match=r"broken ended while starting:\s+no such setting"),
        running(server, target(tmp_path)),
    ):
        pytest.fail("it did not start")


def test_running_server_that_never_answers_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "READY_TIMEOUT_S", 0.3)
    server = program_server("silent", "-c", "import time; time.sleep(60)")

    with (
        pytest.raises(ServerFailed, match="silent did not answer within"),
        running(server, target(tmp_path)) as process,
    ):
        pytest.fail(f"{process} is ready")


def test_running_server_that_ends_under_load_fails(tmp_path: Path) -> None:
    def serve_and_kill() -> None:
        with running(program_server("files", *SERVE), target(tmp_path)) as process:
            os.killpg(process.pid, signal.SIGKILL)
            poll(lambda: not group_members(process.pid))

    with pytest.raises(ServerFailed, match="files ended under load"):
        serve_and_kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_running_server_when_the_run_is_interrupted_is_ended(
    tmp_path: Path, marked: Callable[[], list[str]], number: signal.Signals
) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path), "-c", WITH_A_CHILD],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with run:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        assert len(marked()) == 3

        run.send_signal(number)

        assert run.wait(20) == 130
    assert marked() == []


def test_workers_take_spare_cores_and_the_generators_last_of_all() -> None:
    four, two = Cores(0, 1, (2, 3)), Cores(0, 1)

    assert (four.of_server(), four.beside(1)) == ((0,), four)
    assert (four.of_server(2), four.beside(2)) == ((0, 2), Cores(0, 1, (3,)))
    assert (four.of_server(4), four.beside(4)) == ((0, 2, 3, 1), Cores(0, 1))
    assert (two.of_server(2), two.beside(2)) == ((0, 1), two)
    assert Cores(None, None).of_server(2) == ()
