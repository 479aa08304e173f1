"""The life of a server as operators meet it: boots that hang, groups of signals, pid files."""

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
import flask, os
app = flask.Flask("living")

@app.get("/")
def index():
    return f"one {os.getpid()}"
"""

# Flask is imported before the fork, so that a busy machine does not spend the half second on it.
IMPATIENT = (
    "import flask, werkzeug.serving, flasknado.process.boot\n"
    "flasknado.process.boot.PATIENCE_S = 0.5\n"
)

Serve = Callable[..., ServerProcess]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return a function that serves `living:app` with more options until the test ends."""
    with ExitStack() as stack:

        def serve(
            *options: str,
            app: str = APP,
            settings: str = "",
            ready: bool = True,
            python: tuple[str, ...] = ("-m", "flasknado"),
            env: dict[str, str] | None = None,
        ) -> ServerProcess:
            (tmp_path / "living.py").write_text(app)
            (tmp_path / "gunicorn.conf.py").write_text(settings)
            command = (*python, "--bind", "127.0.0.1:0", *options, "living:app")
            process = server_process(command, cwd=tmp_path, ready=ready, env=env)
            return stack.enter_context(process)

        yield serve


def ask(server: ServerProcess) -> str:
    return requests.get(server.url, timeout=30).text


def test_pid_file_goes_at_the_end_after_a_reload_too(serve: Serve, tmp_path: Path) -> None:
    server = serve("--pid", "server.pid")
    for generation in (2, 3):
        server.signal(signal.SIGHUP)
        server.wait_for_output(f"Reloaded: generation {generation} serves")
        assert (tmp_path / "server.pid").read_text().strip() == str(server.pid)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert not (tmp_path / "server.pid").exists()


@pytest.mark.parametrize("options", [(), ("--preload",)])
def test_boot_that_does_not_end_is_told_with_the_stack_of_the_import(
    serve: Serve, options: tuple[str, ...]
) -> None:
    hanging = APP + "\ndef waits_for_the_database():\n    import time; time.sleep(60)\n"
    app = hanging + "\nwaits_for_the_database()\n"
    server = serve(*options, app=app, settings=IMPATIENT, ready=False)
    server.wait_for_output("the application still boots after 0.5 s; it is here:")
    server.wait_for_output(r"living.py\", line \d+, in waits_for_the_database")
    server.signal(signal.SIGQUIT)


@pytest.mark.parametrize(
    ("call", "extra"),
    [
        ("app.run(port=0)", ""),
        ("make_server('127.0.0.1', 0, app).serve_forever()", "from werkzeug.serving import *\n"),
    ],
)
def test_application_that_serves_by_itself_is_told_by_name(
    serve: Serve, call: str, extra: str
) -> None:
    app = extra + APP + f"\n{call}\n"
    server = serve(app=app, settings=IMPATIENT, ready=False)
    said = server.wait_for_output(
        r"living.py, line (\d+), serves by itself while it is imported .*"
    )
    assert app.splitlines()[int(said[1]) - 1] == call
    assert f"({call})" in said[0]
    assert "if __name__ == '__main__'" in said[0]
    server.signal(signal.SIGQUIT)


def test_boot_in_time_is_not_told(serve: Serve) -> None:
    server = serve()
    assert ask(server).startswith("one ")
    assert "boots" not in server.output


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH])
def test_signal_to_the_whole_process_group_hurts_no_worker(
    serve: Serve, number: signal.Signals
) -> None:
    alone = "import os; os.setsid(); from flasknado.__main__ import main; main()"
    server = serve(python=("-c", alone))
    first = ask(server)
    os.killpg(server.pid, number)
    if number == signal.SIGHUP:
        server.wait_for_output("Reloaded: generation 2 serves")
        poll(lambda: ask(server), lambda answer: answer != first)
    else:
        assert ask(server) == first
    assert "died" not in server.output
    assert "untold" not in server.output


def test_worker_passes_over_signals_that_are_the_arbiters(serve: Serve) -> None:
    server = serve()
    first = ask(server)
    for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU):
        os.kill(int(first.split()[1]), number)
        assert ask(server) == first


def test_hangup_with_a_preloaded_application_says_that_its_code_stays(serve: Serve) -> None:
    server = serve("--preload")
    server.signal(signal.SIGHUP)
    server.wait_for_output("with --preload a reload keeps the code that was imported")
    server.wait_for_output("Reloaded: generation 2 serves")
    assert ask(server).startswith("one ")


@pytest.mark.parametrize("way", ["application", "preloaded", "configuration file"])
def test_monkey_patched_python_is_refused_in_one_sentence(
    serve: Serve, tmp_path: Path, way: str
) -> None:
    (tmp_path / "gevent").mkdir()
    (tmp_path / "gevent" / "__init__.py").touch()
    # As far as it is looked at: gevent itself is in tests/unmodified.
    fake = "saved = {}\ndef patch_all():\n    saved['socket'] = {}\n"
    (tmp_path / "gevent" / "monkey.py").write_text(fake)
    patch = "from gevent import monkey\nmonkey.patch_all()\n"
    if way == "configuration file":
        server = serve(settings=patch, ready=False)
    else:
        options = ("--preload",) if way == "preloaded" else ()
        server = serve(*options, app=patch + APP, ready=False)
    assert server.wait() != 0
    server.wait_for_output(rf"the {way.replace('preloaded', 'application')} calls ")
    server.wait_for_output(r"gevent\.monkey\.patch_all\(\), but this server needs .* remove the c")
    assert "Traceback" not in server.output


def test_worker_told_to_stop_while_its_boot_hangs_is_ended_in_time(serve: Serve) -> None:
    settings = "import flasknado.process.worker\nflasknado.process.worker.BOOT_END_S = 0.5\n"
    app = APP + "\nprint('hanging', flush=True)\nimport time; time.sleep(600)\n"
    server = serve(app=app, settings=settings, ready=False)
    server.wait_for_output("hanging")
    server.signal(signal.SIGTERM)
    assert server.wait(20) == 0
    server.wait_for_output(r"(?s)what held it up:.*living.py")
    assert "SIGKILL" not in server.output


def test_standard_stream_that_the_application_closes_is_the_null_device_again(
    serve: Serve,
) -> None:
    closing = """
@app.get("/close")
def close():
    os.close(0)
    return f"{os.getpid()}"
"""
    server = serve(app=APP + closing)
    with requests.Session() as session:  # a connection that is there already
        session.get(server.url, timeout=30)
        pid = session.get(server.url + "/close", timeout=30).text
        server.wait_for_output("has closed descriptor 0, a standard stream")
        assert Path(f"/proc/{pid}/fd/0").readlink() == Path(os.devnull)
