"""Libraries that keep connections open: one client script, the same answers from both hosts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import ServerProcess, server_process
from tests.unmodified.conftest import Host
from tests.unmodified.environments import Environments

pytestmark = pytest.mark.timeout(300)  # the first of them installs packages

FOLDER = Path(__file__).parent
APPLICATIONS = FOLDER / "applications"
ENVIRONMENT = "long-answers"


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
