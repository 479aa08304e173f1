"""What `pip install flasknado` brings: it hosts any site, and says what else needs more."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import requests

from tests.support.process import server_process
from tests.unmodified.environments import HOST, Environments

pytestmark = pytest.mark.timeout(300)  # the first of them installs packages

WITHOUT_LOOP_AND_PARSER = """
import runpy, sys
sys.modules["uvloop"] = sys.modules["httptools"] = None
sys.argv[0] = "flasknado"
runpy.run_module("flasknado", run_name="__main__")
"""
BARE = b"""
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"bare"]
"""


def run(python: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, *arguments],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_host_brings_neither_a_framework_nor_a_database_layer(
    environments: Environments, tmp_path: Path
) -> None:
    program = (
        "import importlib.util as u, flasknado.process.cli, flasknado.server; "
        "from flasknado import HTTPServer, Refused, in_flask, serve, url_map; "
        "print([n for n in ('flask', 'werkzeug', 'jinja2', 'sqlalchemy') if u.find_spec(n)])"
    )
    done = run(environments.python(HOST), "-c", program, cwd=tmp_path)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize(
    ("needs", "extra"),
    [
        ("from flasknado.live import Live", "live"),
        ("flasknado.live.routes()", "live"),
        ("from flasknado import stream", "flask"),
        ("from flasknado.socketio import SocketIO", "flask"),
    ],
)
def test_import_of_what_an_extra_brings_says_which_one(
    needs: str, extra: str, environments: Environments, tmp_path: Path
) -> None:
    done = run(environments.python(HOST), "-c", f"import flasknado.live; {needs}", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        f"needs flask, which is not installed: pip install 'flasknado[{extra}]'"
    )


def test_live_without_its_database_layer_says_so_at_the_start(
    environments: Environments, tmp_path: Path
) -> None:
    (tmp_path / "site_of_mine.py").write_text("from flasknado.live import Live")
    done = run(environments.python("flask"), "-m", "flasknado", "site_of_mine:app", cwd=tmp_path)
    assert done.returncode != 0
    assert (
        "flasknado.live.Live needs sqlalchemy, which is not installed: "
        "pip install 'flasknado[live]'" in done.stderr
    )


def test_clients_of_live_events_need_no_extra(environments: Environments, tmp_path: Path) -> None:
    done = run(environments.python(HOST), "-c", "from flasknado.live import Client", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_module_says_its_version(environments: Environments, tmp_path: Path) -> None:
    done = run(environments.python(HOST), "-m", "flasknado", "--version", cwd=tmp_path)
    assert done.stdout.startswith("flasknado ")


def test_server_without_uvloop_and_httptools_serves_on_tornados_own(
    environments: Environments, tmp_path: Path
) -> None:
    (tmp_path / "bare.py").write_bytes(BARE)
    command = ("-c", WITHOUT_LOOP_AND_PARSER, "bare:app", "--bind", "127.0.0.1:0")
    with server_process(command, python=environments.python(HOST), cwd=tmp_path) as server:
        assert requests.get(server.url, timeout=20).text == "bare"
        assert requests.get(f"{server.url}/-/readyz", timeout=20).json()["status"] == "ready"


def test_layer_that_needs_httptools_is_refused_without_it(
    environments: Environments, tmp_path: Path
) -> None:
    (tmp_path / "bare.py").write_bytes(BARE)
    command = (*("-c", WITHOUT_LOOP_AND_PARSER, "bare:app"), "--http", "llhttp")
    done = run(environments.python(HOST), *command, cwd=tmp_path)
    assert done.returncode != 0
    assert "'llhttp' needs httptools: install it, or choose 'tornado'" in done.stderr
    assert "Traceback" not in done.stderr
