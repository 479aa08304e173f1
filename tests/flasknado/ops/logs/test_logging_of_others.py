"""Logs that others move or configure: rotation, the application's `dictConfig`, closed streams."""

from __future__ import annotations

import os
import pwd
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.support.poll import poll
from tests.support.process import ServerProcess, server_process

APP = """
import logging, logging.config, os, sys, flask
app = flask.Flask("logs")

CONFIGURE

@app.get("/warn")
def warn():
    logging.getLogger("mine").warning("asked for %s", flask.request.full_path)
    return "warned"

@app.get("/configure")
def configure():
    logging.config.dictConfig({"version": 1, "root": {"handlers": [], "level": "CRITICAL"}})
    return "configured"

@app.get("/fail")
def fail():
    app.config["PROPAGATE_EXCEPTIONS"] = True
    raise ValueError(f"no such coupon {flask.request.args.get('n')}")

@app.get("/errors")
def errors():
    stream = flask.request.environ["wsgi.errors"]
    stream.write("written to wsgi.errors\\n")
    stream.writelines(["more ", "lines\\n"])
    stream.flush()
    print("printed")
    return ",".join(str(os.fstat(number).st_rdev) for number in (0, 1, 2))
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the application and returns its folder."""

    def write(configure: str = "") -> Path:
        (tmp_path / "logs.py").write_text(APP.replace("CONFIGURE", configure))
        return tmp_path

    return write


def command(*options: str) -> tuple[str, ...]:
    return ("-m", "flasknado", "--bind", "127.0.0.1:0", *options, "logs:app")


def ask(server: ServerProcess, path: str) -> requests.Response:
    return requests.get(server.url + path, timeout=20)


CONFIGURATIONS = {
    "bare": 'logging.config.dictConfig({"version": 1})',
    "with a root": """logging.config.dictConfig({
        "version": 1,
        "handlers": {"file": {"class": "logging.FileHandler", "filename": "own.log"}},
        "root": {"handlers": ["file"], "level": "ERROR"},
    })""",
    "without handlers": 'logging.config.dictConfig({"version": 1, "root": {"handlers": []}})',
    "quiet": 'logging.getLogger().setLevel("CRITICAL")',
    "forced": "logging.basicConfig(filename='own.log', level='ERROR', force=True)",
}


@pytest.mark.parametrize("preload", [(), ("--preload",)])
@pytest.mark.parametrize("configure", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_logging_configuration_of_the_application_does_not_silence_the_server(
    write: Callable[..., Path], configure: str, preload: tuple[str, ...]
) -> None:
    folder = write(configure)
    logs = ("--error-logfile", "error.log", "--access-logfile", "access.log")
    with server_process(command(*logs, *preload), cwd=folder, ready=False) as server:
        error_log = folder / "error.log"
        said = poll(
            lambda: error_log.exists() and error_log.read_text(), lambda t: t and "Serv" in t
        )
        assert said
        server.url = said.split("Listening at: ")[1].split()[0]
        assert ask(server, "/fail?n=5").status_code == 500
        said = poll(error_log.read_text, lambda text: "no such coupon 5" in text)
        assert said.count("ValueError: no such coupon 5") == 1
        poll((folder / "access.log").read_text, lambda text: '"GET /fail?n=5 HTTP/1.1" 500' in text)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert "Worker exiting" in error_log.read_text()


def test_logging_that_a_view_configures_does_not_silence_the_server(
    write: Callable[..., Path],
) -> None:
    with server_process(command(), cwd=write()) as server:
        assert ask(server, "/configure").ok
        poll(lambda: ask(server, "/fail?n=7"), lambda _: "ValueError: no such c" in server.output)


@pytest.mark.parametrize(
    "user",
    [
        "",
        pytest.param(
            "nobody",
            marks=pytest.mark.skipif(
                os.geteuid() != 0, reason="needs root, to become somebody else"
            ),
        ),
    ],
)
def test_rotated_logs_are_followed(write: Callable[..., Path], user: str) -> None:
    folder = write()
    for parent in (folder, *folder.parents[:3]):
        parent.chmod(0o755)  # for the other user, who may not write here
    options = ("--access-logfile", "access.log", "--error-logfile", "error.log")
    if user:
        # The interpreter may be where this user may not look: import all before becoming that one.
        options = (*options, "--user", user, "--preload")
        (folder / "gunicorn.conf.py").write_text("import encodings.ascii, encodings.idna")
    with server_process(command(*options), cwd=folder, ready=False) as server:
        error_log, access_log = folder / "error.log", folder / "access.log"
        said = poll(
            lambda: error_log.exists() and error_log.read_text(), lambda t: t and "Serv" in t
        )
        assert said
        server.url = said.split("Listening at: ")[1].split()[0]
        ask(server, "/warn?n=1")
        poll(access_log.read_text, lambda text: "n=1" in text)
        error_log.rename(folder / "error.log.1")
        access_log.rename(folder / "access.log.1")
        server.signal(signal.SIGUSR1)
        poll(lambda: error_log.exists() and access_log.exists())
        # The worker is told after the arbiter has followed.
        for number in range(2, 400):
            ask(server, f"/warn?n={number}")
            if "/warn?n=" in error_log.read_text() and "/warn?n=" in access_log.read_text():
                break
        poll(error_log.read_text, lambda text: "asked for /warn?n=" in text)
        poll(access_log.read_text, lambda text: '"GET /warn?n=' in text)
        if user:
            assert error_log.stat().st_uid == pwd.getpwnam(user).pw_uid
        assert server.stop() == 0
    assert "cannot" not in error_log.read_text()


def test_log_that_cannot_be_opened_again_goes_on_and_says_so(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write()
    (folder / "logs").mkdir()
    options = ("--error-logfile", "logs/error.log")
    with server_process(command(*options), cwd=folder, ready=False) as server:
        error_log = folder / "logs" / "error.log"
        poll(lambda: error_log.exists() and error_log.read_text(), lambda t: t and "Serv" in t)
        (folder / "logs").rename(folder / "old")
        server.signal(signal.SIGUSR1)
        moved = folder / "old" / "error.log"
        poll(moved.read_text, lambda text: text.count("error.log cannot be opened again") == 2)
        assert server.stop() == 0
    assert "Worker exiting" in moved.read_text()


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_application_writes_its_errors_with_closed_standard_descriptors(
    write: Callable[..., Path], closed: str
) -> None:
    folder = write()
    line = shlex.join([sys.executable, *command("--error-logfile", "error.log")])
    start = f"import os; os.execv('/bin/sh', ['sh', '-c', {f'exec {line} {closed}'!r}])"
    with server_process(("-c", start), cwd=folder, ready=False) as server:
        error_log = folder / "error.log"
        said = poll(
            lambda: error_log.exists() and error_log.read_text(), lambda t: t and "Serv" in t
        )
        assert said
        server.url = said.split("Listening at: ")[1].split()[0]
        answer = ask(server, "/errors")
        assert answer.status_code == 200
        null = Path(os.devnull).stat().st_rdev
        assert answer.text.split(",")[2] == str(null)  # and not a client's connection
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
