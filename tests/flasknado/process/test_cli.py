"""The command line, run as a user runs it."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest
import requests

import flasknado
from tests.support.process import server_process

HELLO = """
import os, flask, flasknado, tornado.web
app = flask.Flask("hello")

@app.get("/")
def hello():
    return f"hello from {os.getpid()}"

@app.get("/prefix")
def prefix():
    return flask.request.script_root + "|" + flask.request.path

class Native(tornado.web.RequestHandler):
    def get(self):
        self.write("native")

class Asks(tornado.web.RequestHandler):
    async def get(self):
        self.write(await flasknado.in_flask(self, prefix))

routes = [(r"/native", Native), (r"/asks", Asks)]

def create_app(name):
    return app

async def asgi(scope, receive, send): ...
"""


COMMITS_EACH_STATEMENT = """
import flask, flask_sqlalchemy, flasknado.live
app = flask.Flask("commits")
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"isolation_level": "AUTOCOMMIT"}
db = flask_sqlalchemy.SQLAlchemy(app)
live = flasknado.live.Live(app, db)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hello.py").write_text(HELLO)
    (tmp_path / "fails.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "commits.py").write_text(COMMITS_EACH_STATEMENT)
    # A user's own top-level `config` must not be taken for ours, nor ours for theirs.
    (tmp_path / "config.py").write_text("ANSWER = 42\n")
    (tmp_path / "uses_config.py").write_text(HELLO + "import config\nassert config.ANSWER == 42\n")
    return tmp_path


def command(*arguments: str) -> tuple[str, ...]:
    return ("-m", "flasknado.process.cli", "--bind", "127.0.0.1:0", *arguments)


def test_command_serves_an_application_and_native_handlers_on_one_port(folder: Path) -> None:
    arguments = command("hello:app", "--handlers", "hello:routes", "--workers", "2")
    with server_process(arguments, cwd=folder) as server:
        assert requests.get(server.url, timeout=10).text.startswith("hello from ")
        assert requests.get(server.url + "/native", timeout=10).text == "native"
        assert requests.get(server.url + "/-/healthz", timeout=10).json() == {"status": "ok"}
        assert server.stop() == 0


def test_command_with_a_mount_serves_below_it_only(folder: Path) -> None:
    with server_process(command("hello:app", "--mount", "/shop"), cwd=folder) as server:
        assert requests.get(server.url + "/shop/prefix", timeout=10).text == "/shop|/prefix"
        assert requests.get(server.url + "/prefix", timeout=10).status_code == 404
        assert requests.get(server.url + "/shopping", timeout=10).status_code == 404


@pytest.mark.parametrize("way", ["option", "variable"])
def test_mount_holds_for_both_halves_and_not_for_operations(folder: Path, way: str) -> None:
    arguments = command("hello:app", "--handlers", "hello:routes")
    env = {}
    if way == "option":
        arguments += ("--mount", "/shop")
    else:
        env["SCRIPT_NAME"] = "/shop/"
    with server_process(arguments, cwd=folder, env=env) as server:

        def get(path: str) -> requests.Response:
            return requests.get(server.url + path, timeout=10)

        assert get("/shop/prefix").text == "/shop|/prefix"
        assert get("/shop/native").text == "native"
        assert get("/%73hop/n%61tive").text == "native"
        assert get("/shop/asks").text == "/shop|/asks"
        assert get("/native").status_code == get("/prefix").status_code == 404
        assert get("/-/healthz").json() == {"status": "ok"}
        assert get("/shop/-/healthz").status_code == 404


def test_command_where_the_user_has_a_config_module_imports_theirs(folder: Path) -> None:
    with server_process(command("uses_config:app"), cwd=folder) as server:
        assert requests.get(server.url, timeout=10).ok


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("hello:nothing",), r"has no attribute 'nothing'"),
        (
            ("no_such_module:app",),
            r"there is no module 'no_such_module': run the command",
        ),
        (("fails:app",), r"ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        (("fails:app",), r'fails.py", line 1, in <module>'),
        (("hello",), r"has no attribute 'application': name the application, as in 'hello:app'"),
        (("hello.py:app",), r"is a file name: name the module, as in 'hello:app'"),
        (("hello:create_app()",), r"has the wrong arguments: missing a required argument: 'name'"),
        (("hello:create_app",), r"if it is a factory, call it, as in 'hello:create_app\(\)'"),
        (("hello:app()",), r"calls an application, not a factory: write 'hello:app'"),
        (("hello:asgi",), r"is an ASGI application, but this server hosts WSGI"),
        ((), r"no application: name it as MODULE:APP"),
        (
            ("hello:app", "--handlers", "hello:app"),
            r"--handlers: .*is of type Flask: name a list",
        ),
        (
            ("hello:app", "--handlers", "hello:app.name"),
            r"--handlers: .*name a list of Tornado\s+routes",
        ),
        (
            ("hello:app", "--handlers", "no_such_module:r"),
            r"--handlers: there is no module 'no_such_module'",
        ),
        (("hello:app", "--static", "web"), r"--static must be a path prefix and .*, not web\n"),
        (("hello:app", "--static", "web=."), r"--static must be a path prefix and .*, not web=\."),
        (("hello:app", "--static", "/web=nowhere"), r"the folder .* 'nowhere' does not exist"),
        (
            ("hello:app", "--mount", "shop"),
            r"--mount must be a path .*, not 'shop'",
        ),
        (
            ("hello:app", "--max-body", "1T"),
            r"--max-body must be a whole .*, not '1T'",
        ),
        (
            ("hello:app", "--max-body-for", "a=1K"),
            r"--max-body-for is a=1K: .* a path that",
        ),
        (
            ("commits:app", "--handlers", "flasknado.live:routes"),
            r"live events are committed with the rows .* AUTOCOMMIT of this engine rules out",
        ),
    ],
)
def test_command_that_cannot_serve_says_why_and_fails(
    folder: Path, arguments: tuple[str, ...], said: str
) -> None:
    with server_process(command(*arguments), cwd=folder, ready=False) as server:
        assert server.wait() != 0
        server.wait_for_output(said)


@pytest.mark.parametrize("option", ["--check-config", "--print-config"])
def test_command_that_only_checks_says_so_in_one_sentence(folder: Path, option: str) -> None:
    with server_process(command(option, "hello:app"), cwd=folder, ready=False) as server:
        assert server.wait() == 0
    with server_process(command(option, "hello:nothing"), cwd=folder, ready=False) as server:
        assert server.wait() == 1
        server.wait_for_output("flasknado: the module 'hello' has no attribute 'nothing'")
        assert "Traceback" not in server.output


def test_command_asked_for_its_version_tells_its_own(folder: Path) -> None:
    with server_process(command("--version"), cwd=folder, ready=False) as server:
        assert server.wait() == 0
        assert server.output.startswith(f"flasknado {flasknado.__version__} (gunicorn ")


def test_command_on_an_occupied_port_says_so_in_one_sentence(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        arguments = ("-m", "flasknado.process.cli", "--bind", f"127.0.0.1:{port}", "hello:app")
        with server_process(arguments, cwd=folder, ready=False) as server:
            assert server.wait() == 1
            assert server.output.count("\n") == 1
            server.wait_for_output(f"port {port} on 127.0.0.1 is in use by another program")


def test_command_on_hangup_serves_the_new_code(folder: Path) -> None:
    with server_process(command("hello:app"), cwd=folder) as server:
        (folder / "hello.py").write_text(HELLO.replace("hello from", "goodbye from"))
        server.signal(signal.SIGHUP)
        server.wait_for_output(r"(?s)Serving as worker.*Serving as worker.*Worker exiting")
        assert requests.get(server.url, timeout=10).text.startswith("goodbye from ")


def test_command_told_to_quit_stops_at_once(folder: Path) -> None:
    with server_process(command("hello:app"), cwd=folder) as server:
        server.signal(signal.SIGQUIT)
        assert server.wait() == 0


def test_stock_gunicorn_with_our_worker_serves(folder: Path) -> None:
    arguments = ("-m", "gunicorn", "-k", "flasknado.Worker", "-b", "127.0.0.1:0", "hello:app")
    with server_process(arguments, cwd=folder) as server:
        assert requests.get(server.url, timeout=10).text.startswith("hello from ")
        assert requests.get(server.url + "/-/readyz", timeout=10).status_code == 200
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


def test_setting_of_gunicorn_that_would_be_ignored_is_refused(folder: Path) -> None:
    with server_process(
        command("hello:app", "--proxy-protocol"), cwd=folder, ready=False
    ) as server:
        assert server.wait() == 1
        server.wait_for_output("--proxy-protocol is .* setting proxy_protocol is not supported")


def test_command_reads_a_configuration_file_of_gunicorn(folder: Path) -> None:
    (folder / "gunicorn.conf.py").write_text("threads = 3\nmount = '/shop'\n")
    with server_process(command("hello:app"), cwd=folder) as server:
        assert requests.get(server.url + "/shop/prefix", timeout=10).text == "/shop|/prefix"
        assert "flasknado_pool_threads{" in requests.get(server.url + "/-/metrics", timeout=10).text
