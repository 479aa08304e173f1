"""`flasknado doctor`, run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from tests.support.process import PROJECT_ROOT, server_process

APP = """
import flask
app = flask.Flask("sick")

@app.get("/")
def index():
    return "well"
"""


class Answer(NamedTuple):
    status: int
    text: str


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path)
    return tmp_path


def write(folder: Path, more: str = "", settings: str = "") -> None:
    (folder / "sick.py").write_text(APP + more)
    if settings:
        (folder / "gunicorn.conf.py").write_text(settings)


def doctor(folder: Path, *arguments: str, **env: str) -> Answer:
    done = subprocess.run(
        [sys.executable, "-m", "flasknado", "doctor", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stdout
    return Answer(done.returncode, done.stdout)


def test_application_without_findings_is_well(folder: Path) -> None:
    assert doctor(folder, "--workers", "2", "sick:app") == (
        0,
        "Nothing will be different here.\n",
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("worker_class = 'gthread'", "worker_class in gunicorn.conf.py must be flasknado.Worker"),
        ("workers = 0", "workers in gunicorn.conf.py must be a whole number, 1 or more, not 0"),
        ("workers = 'many'", "must be a whole number, 1 or more, not 'many'"),
        (
            "def pre_request(worker, request): pass",
            "pre_request in gunicorn.conf.py is pre_request",
        ),
        ("limit_request_field_size = 9", "use --max-head, which limits"),
        ("bind = '127.0.0.1:99999'", "cannot listen on 127.0.0.1:99999"),
    ],
)
def test_setting_that_is_refused_stops_the_start(folder: Path, settings: str, said: str) -> None:
    write(folder, settings=settings)
    status, text = doctor(folder, "sick:app")
    assert status == 1
    assert said in text
    assert text.startswith("will not start: ")


def test_all_settings_that_are_refused_are_told_at_once(folder: Path) -> None:
    write(
        folder, settings="worker_class = 'sync'\nthreads = 0\nstatsd_host = 'a:1'\nkeepalive = 'x'"
    )
    text = doctor(folder, "--log-level", "loud", "sick:app").text
    for name in ("worker_class", "threads", "statsd_host", "keepalive"):
        assert f"{name} in gunicorn.conf.py " in text
    assert "--log-level must be one of" in text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
        ("app = None", "sick:app"),
        ("import os; os._exit(3)", "importing 'sick:app' ends the process (exit status 3)"),
        ("import os; os.kill(os.getpid(), 9)", "ends the process (SIGKILL)"),
    ],
)
def test_application_that_cannot_be_imported_stops_the_start(
    folder: Path, more: str, said: str
) -> None:
    write(folder, more)
    status, text = doctor(folder, "sick:app")
    assert (status, text.count("\n")) == (1, 1)
    assert said in text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("app.run(port=0)", "sick.py, line 8, starts a server while it is imported (app.run(po"),
        ("import time; time.sleep(600)", "has not finished after 1 s: it is at "),
    ],
)
def test_import_that_does_not_end_is_named(folder: Path, more: str, said: str) -> None:
    write(folder, more, "import flasknado.process.doctor.command as c; c.PATIENCE_S = 1")
    status, text = doctor(folder, "sick:app")
    assert status == 1
    assert said in text


DIFFERENCES = {
    "logging": (
        "import logging.config\nlogging.config.dictConfig({'version': 1})",
        "line 9, configures logging without disable_existing_loggers=False",
    ),
    "pool": (
        "import sqlalchemy\nengine = sqlalchemy.create_engine('sqlite:///small.db')",
        "the pool of sqlite:///small.db has 15 connections for 16 threads",
    ),
    "socket": (
        "def view(): return flask.request.environ['werkzeug.socket']",
        "sick.py, line 8, (werkzeug.socket) takes the client's socket from the environ, which has "
        "it here only if the request asks for an upgrade",
    ),
    "WebSocket of gevent": (
        "def view(): return flask.request.environ['wsgi.websocket']",
        "sick.py, line 8, (wsgi.websocket) takes the client's socket from the environ, which has "
        "none here",
    ),
    "proxy": (
        "from werkzeug.middleware.proxy_fix import ProxyFix\napp.wsgi_app = ProxyFix(app.wsgi_app)",
        "is wrapped in ProxyFix, which trusts every client",
    ),
    "Socket.IO": (
        "import sys, types\nsys.modules['flask_socketio'] = types.ModuleType('flask_socketio')",
        "Flask-SocketIO runs in threads here (async_mode='threading')",
    ),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_difference_is_told_with_what_to_do(folder: Path, name: str) -> None:
    more, said = DIFFERENCES[name]
    write(folder, more)
    status, text = doctor(folder, "sick:app")
    assert status == 2
    assert text.startswith("will differ: ")
    assert said in text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("timeout = 120", "timeout is 120: here it limits how long the event loop"),
        ("threads = 1", "sync worker runs one view at a time, and 1 run"),
    ],
)
def test_setting_that_means_something_else_is_told(folder: Path, settings: str, said: str) -> None:
    write(folder, settings=settings)
    status, text = doctor(folder, "sick:app")
    assert status == 2
    assert said in text


def test_logging_that_keeps_loggers_is_no_difference(folder: Path) -> None:
    config = {"version": 1, "disable_existing_loggers": False}
    write(folder, f"import logging.config\nlogging.config.dictConfig({config})")
    assert doctor(folder, "sick:app").status == 0


def test_notes_do_not_count(folder: Path) -> None:
    more = "class Shout:\n    def __init__(self, app): self.app = app\n"
    more += "    def __call__(self, *args): return self.app(*args)\n"
    write(folder, more + "app.wsgi_app = Shout(app.wsgi_app)", "worker_conections = 5")
    status, text = doctor(folder, "sick:app", SCRIPT_NAME="/shop")
    assert status == 0
    assert "note: the application is wrapped in Shout" in text
    assert "did you mean worker_connections?" in text
    assert "SCRIPT_NAME is '/shop'" in text


def test_address_of_the_running_server_is_a_note(folder: Path) -> None:
    with server_process(
        ("-m", "flasknado", "--bind", "127.0.0.1:0", "sick:app"), cwd=folder
    ) as old:
        status, text = doctor(folder, "--bind", f"127.0.0.1:{old.port}", "sick:app")
    assert status == 0
    assert "if that is the server you are replacing, ignore this" in text


@pytest.mark.parametrize("arguments", [("--nonsense", "sick:app"), ()])
def test_command_line_that_will_not_do_is_no_difference(
    folder: Path, arguments: tuple[str, ...]
) -> None:
    assert doctor(folder, *arguments).status == 1


def test_monkey_patch_stops_the_start(folder: Path) -> None:
    (folder / "gevent").mkdir()
    (folder / "gevent" / "__init__.py").touch()
    fake = "saved = {}\ndef patch_all():\n    saved['socket'] = {}\n"
    (folder / "gevent" / "monkey.py").write_text(fake)
    write(folder, "from gevent import monkey\nmonkey.patch_all()")
    status, text = doctor(folder, "sick:app")
    assert status == 1
    assert "the application calls gevent.monkey.patch_all()" in text


OLD = """
import multiprocessing

bind = "127.0.0.1:0"
worker_class = "gevent"
threads = 2  # as it was


def pre_request(worker, request):
    worker.log.info("%s", request.path)


statsd_host: str = "127.0.0.1:8125"
"""


def test_new_configuration_file_is_written_beside_the_old_one_and_serves(folder: Path) -> None:
    (folder / "deploy").mkdir()
    (folder / "deploy" / "old.py").write_text(OLD)
    status, text = doctor(folder, "--write", "-c", "deploy/old.py", "sick:app")
    assert status == 1
    new = folder / "deploy" / "flasknado.conf.py"
    assert new.read_text() in text + "\n"
    assert (folder / "deploy" / "old.py").read_text() == OLD
    assert doctor(folder, "-c", str(new), "sick:app").status == 0
    with server_process(("-m", "flasknado", "-c", str(new), "sick:app"), cwd=folder) as server:
        assert requests.get(server.url, timeout=10).text == "well"


def test_new_configuration_file_replaces_none(folder: Path) -> None:
    (folder / "flasknado.conf.py").write_text("mine = 1\n")
    answer = doctor(folder, "--write", "--workers", "3", "sick:app")
    assert (folder / "flasknado.conf.py").read_text() == "mine = 1\n"
    assert "exists already and was not changed" in answer.text
    assert "workers = 3\n" in answer.text


def test_new_configuration_file_holds_what_the_command_line_says(folder: Path) -> None:
    options = ("--workers", "3", "-k", "gthread", "--mount", "/shop", "--bind", "127.0.0.1:0")
    doctor(folder, "--write", *options, "sick:app")
    new = (folder / "flasknado.conf.py").read_text()
    assert "wsgi_app = 'sick:app'\n" in new
    assert "workers = 3\n" in new
    assert "worker_class" not in new
    with server_process(("-m", "flasknado", "-c", "flasknado.conf.py"), cwd=folder) as server:
        assert requests.get(server.url + "/shop/", timeout=10).text == "well"
