"""Libraries that keep connections open: one client script, the same answers from both hosts."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.poll import poll
from tests.support.process import ServerProcess, server_process
from tests.support.raw import connect, read_to_end
from tests.unmodified.conftest import Host
from tests.unmodified.environments import Environments

pytestmark = pytest.mark.timeout(300)  # the first of them installs packages

FOLDER = Path(__file__).parent
APPLICATIONS = FOLDER / "applications"
ENVIRONMENT = "long-answers"
TIMEOUT_S = 30


def heard_by_client(environments: Environments, kind: str, url: str) -> Any:
    script = FOLDER / "clients" / "long_answers.py"
    command = [str(environments.python(ENVIRONMENT)), str(script), kind, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("kind", "application"),
    [
        ("sock", "sock_site:app"),
        ("raw", "raw_websocket_site:app"),
        ("socketio", "socketio_site:app"),
        ("queue", "queue_site:app"),
    ],
)
def test_library_is_answered_as_by_gunicorns_threads(
    kind: str, application: str, host: Host, environments: Environments
) -> None:
    command = ("-m", "gunicorn", "--bind", "127.0.0.1:0", "--threads", "100", application)
    python = environments.python(ENVIRONMENT)
    with server_process(command, python=python, cwd=APPLICATIONS, ready=False) as gunicorn:
        gunicorn.url = gunicorn.wait_for_output(r"Listening at: (http://\S+)")[1]
        expected = heard_by_client(environments, kind, gunicorn.url)
    with host(ENVIRONMENT, application, "--threads", "16", cwd=APPLICATIONS) as server:
        assert heard_by_client(environments, kind, server.url) == expected
        assert_no_errors(server, kind)


def assert_no_errors(server: ServerProcess, kind: str) -> None:
    assert "the application failed" not in server.output
    # Flask tells of the view that fails on purpose.
    assert server.output.count("Traceback") == (kind == "sock"), server.output


HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
HELLO = b"\x81\x85\0\0\0\0hello"
SERVICE_RESTART = b"\x88\x15" + (1012).to_bytes(2, "big") + b"the server restarts"


def gauge(server: ServerProcess, name: str) -> float:
    text = requests.get(server.url + "/-/metrics", timeout=TIMEOUT_S).text
    values = re.findall(rf"^flasknado_{re.escape(name)}\b.* ([0-9.e+]+)$", text, re.MULTILINE)
    assert values, name
    return float(values[0])


def test_many_idle_websockets_leave_pages_their_threads_and_are_sent_away_by_a_drain(
    host: Host,
) -> None:
    options = ("--threads", "16", "--graceful-timeout", "20")
    with (
        host(ENVIRONMENT, "sock_site:app", *options, cwd=APPLICATIONS) as server,
        ExitStack() as clients,
    ):
        idle = [clients.enter_context(connect(("127.0.0.1", server.port))) for _ in range(250)]
        for client in idle:
            client.sendall(HANDSHAKE)
        for client in idle:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            assert head.startswith(b"HTTP/1.1 101 "), head
        assert requests.get(server.url, timeout=TIMEOUT_S).text == "a page"
        for client in idle[::50]:
            client.sendall(HELLO)
            assert client.recv(100) == b"\x81\x05hello"
        poll(lambda: gauge(server, 'streams{state="running'), lambda count: count == 250)
        poll(lambda: gauge(server, "stream_threads"), lambda count: count > 230)
        assert gauge(server, "connections_upgraded") == 250
        server.signal(signal.SIGTERM)
        for client in idle:
            assert read_to_end(client) == SERVICE_RESTART
        assert server.wait() == 0
        assert_no_errors(server, "echo")


def test_one_websocket_more_than_may_be_held_is_refused(host: Host) -> None:
    options = ("--threads", "2", "--stream-threads", "2")
    with (
        host(ENVIRONMENT, "sock_site:app", *options, cwd=APPLICATIONS) as server,
        ExitStack() as clients,
    ):
        answers = []
        for _ in range(3):
            client = clients.enter_context(connect(("127.0.0.1", server.port)))
            client.sendall(HANDSHAKE)
            answers.append(client.recv(4096))
        assert [answer[9:12] for answer in answers] == [b"101", b"101", b"503"]
        assert b"Retry-After: 1\r\n" in answers[2]
        assert requests.get(server.url, timeout=TIMEOUT_S).text == "a page"
        assert gauge(server, "streams_refused_total") == 1
        assert_no_errors(server, "echo")
