"""Settings are checked by value: a bad one stops startup with a one-line error."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from flasknado.errors import AddressTaken
from flasknado.process import cli
from flasknado.unix_path import check_unix_path
from tests.support.process import server_process
from tests.support.programs import need
from tests.support.raw import connect

APP = """
import flask
app = flask.Flask("small")

@app.get("/")
def hello():
    return "hello"
"""


PASSWORD = "secret"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two certificates with their keys, and the first key again with a password."""
    folder = tmp_path_factory.mktemp("keys")

    def openssl(*arguments: str) -> None:
        command = [need("openssl"), *arguments]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    names = ("-addext", "subjectAltName=DNS:localhost")
    for name in ("a", "b"):
        openssl(
            *new, "-subj", "/CN=localhost", *names, "-keyout", f"{name}.key", "-out", f"{name}.crt"
        )
    openssl("ec", "-in", "a.key", "-aes128", "-passout", f"pass:{PASSWORD}", "-out", "locked.key")
    return folder


@pytest.fixture
def folder(tmp_path: Path, keys: Path) -> Path:
    shutil.copytree(keys, tmp_path, dirs_exist_ok=True)
    (tmp_path / "small.py").write_text(APP)
    return tmp_path


def command(*options: str) -> tuple[str, ...]:
    bind = () if "--bind" in options else ("--bind", "127.0.0.1:0")
    return ("-m", "flasknado", *bind, *options, "small:app")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("-k", "gthread"),
            "--worker-class must be flasknado.* or a subclass of it, not '",
        ),
        (("-k", "eventlet"), "--worker-class must be .*eventlet.*: remove the setting"),
        (
            ("--logger-class", "gunicorn.glogging.Logger"),
            "--logger-class must be flasknado",
        ),
        (("--log-level", "loud"), "--log-level must be one of critical, .*, not 'loud'"),
        (("--workers", "0"), "--workers must be a whole number, 1 or more, not 0"),
        (("--workers", "-1"), "--workers must be a whole number, 1 or more, not '-1'"),
        (("--threads", "0"), "--threads must be a whole number, 1 or more, not 0"),
        (
            ("--queue-timeout", "nan"),
            "--queue-timeout must be a number .*, not 'nan'",
        ),
        (("--log-format", "xml"), "--log-format must be one of text, json, not 'xml'"),
        (("--umask", "0o7777"), "--umask must be from 0 to 0o777, not 0o7777"),
        (("--env", "NAME"), "--env must be NAME=VALUE, not 'NAME'"),
        (
            ("--bind", "127.0.0.1:99999"),
            "cannot listen on 127.0.0.1:99999: a port is",
        ),
        (
            ("--bind", "[::1]:99999"),
            "cannot listen on ::1:99999: a port is a number",
        ),
        (("--bind", "127.0.0.1:http"), "'http' is not a valid port number"),
        (("--bind", "127.0.0.1:99999", "--reuse-port"), "a port is a number from 0 to 65535"),
        (("--bind", "fd://999"), "cannot listen on fd://999 .Bad file descriptor"),
        (("--bind", "unix:small.py"), "the file exists and is not a socket"),
        (("--bind", "unix:no/folder/s"), "the folder 'no/folder' does not exist: create it"),
        (("--bind", f"unix:{'x' * 120}"), "the path has 120 bytes, and the limit for Unix sock"),
        (("--ops-bind", "unix:small.py"), "--ops-bind: cannot listen on .* is not a socket"),
        (("--ops-bind", "9100"), "--ops-bind: cannot listen on '9100' .write HOST:PORT or unix:"),
        (("--config", "none.py"), "--config is 'none.py', which is not readable .No such file"),
        (("--config", "."), "--config is '.', which is not readable .Is a directory"),
        (("--reload-extra-file", "no.txt"), "--reload-extra-file must be an existing file, not no"),
        (("--static", "/static=no/folder"), "--static: .* 'no/folder' does not exist"),
        (("--error-logfile", "no/folder/log"), "--log-file is 'no/folder/log', which is not wri"),
        (("--access-logfile", "."), "--access-logfile is '.', which is not writable"),
        (("--log-config", "none.ini"), "--log-config is 'none.ini', but that file does not"),
        (("--log-config-json", "none.json"), "--log-config-json is 'none.json', but"),
        (
            ("--log-syslog", "--log-syslog-facility", "x"),
            "--log-syslog-facility must be one of",
        ),
        (("--log-syslog-to", "nowhere"), "--log-syslog-to is 'nowhere': "),
        (("--pid", "no/folder/pid"), "--pid is 'no/folder/pid', but the folder .* does not exist"),
        (
            ("--worker-tmp-dir", "no/folder"),
            "--worker-tmp-dir is 'no/folder', but the folder",
        ),
        (("--certfile", "none.crt"), "--certfile is 'none.crt', which is not readable .No such"),
        (
            ("--certfile", "a.crt", "--keyfile", "none"),
            "--keyfile is 'none', which is not",
        ),
        (("--certfile", "a.crt", "--keyfile", "b.key"), "the key does not belong to the"),
        (("--certfile", "a.crt"), "without a keyfile, certfile must hold a certificate"),
        (("--certfile", "small.py", "--keyfile", "a.key"), "must hold a certificate, and keyfile"),
        (("--keyfile", "a.key"), "keyfile is set, but certfile is not: set both"),
        (
            ("--certfile", "a.crt", "--keyfile", "a.key", "--cert-reqs", "7"),
            "--cert-reqs must be 0 .*, not 7",
        ),
        (("--cert-reqs", "7"), "--cert-reqs must be 0 .*, not 7"),
        (
            ("--certfile", "a.crt", "--keyfile", "a.key", "--ciphers", "x"),
            "--ciphers is 'x': ",
        ),
        (
            ("--certfile", "a.crt", "--keyfile", "a.key", "--ca-certs", "small.py"),
            "--ca-certs is 'small.py': ",
        ),
    ],
)
def test_bad_value_is_a_one_line_error(
    folder: Path,
    options: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # Undone after the test, though the command changes them itself.
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.path", sys.path.copy())
    arguments = ("--chdir", str(folder), *command(*options)[2:])
    monkeypatch.setattr("sys.argv", ["flasknado", *arguments])
    with pytest.raises(SystemExit) as ending:
        cli.main()
    out, err = capfd.readouterr()
    assert ending.value.code == 1
    assert re.search(said, err), err
    assert err.strip().count("\n") == 0
    assert out == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-k", "gthread"), "--worker-class must be .*, not 'gthread'"),
        (("--certfile", "a.crt", "--keyfile", "b.key"), "the key does not belong to the cert"),
        (("--bind", "unix:small.py"), "the file exists and is not a socket"),
    ],
)
def test_process_started_with_it_ends_with_that_error(
    folder: Path, options: tuple[str, ...], said: str
) -> None:
    with server_process(command(*options), cwd=folder, ready=False) as server:
        assert server.wait() == 1
        server.wait_for_output(said)
        assert server.output.count("\n") == 1


def test_worker_class_of_an_existing_configuration_file_is_refused(folder: Path) -> None:
    (folder / "gunicorn.conf.py").write_text("worker_class = 'gthread'\nthreads = 4\n")
    with server_process(command(), cwd=folder, ready=False) as server:
        assert server.wait() == 1
        server.wait_for_output(
            "worker_class in .*gunicorn.conf.py must be .*, not 'gthread': remove"
        )
        assert server.output.count("\n") == 1


def test_bad_type_in_a_configuration_file_is_one_sentence(folder: Path) -> None:
    (folder / "gunicorn.conf.py").write_text("workers = 'many'\n")
    with server_process(command(), cwd=folder, ready=False) as server:
        assert server.wait() == 1
        server.wait_for_output(
            "workers in .*gunicorn.conf.py must be a whole number, .*, not 'many'"
        )
        assert server.output.count("\n") == 1


def test_subclass_of_the_worker_is_taken(folder: Path) -> None:
    (folder / "mine.py").write_text("import flasknado\nclass Mine(flasknado.Worker): pass\n")
    with server_process(command("-k", "mine.Mine"), cwd=folder) as server:
        assert requests.get(server.url, timeout=10).text == "hello"


def test_reload_with_a_bad_value_keeps_the_old_workers(folder: Path) -> None:
    (folder / "gunicorn.conf.py").write_text("threads = 2\n")
    with server_process(command(), cwd=folder) as server:
        (folder / "gunicorn.conf.py").write_text("worker_class = 'gthread'\n")
        server.signal(signal.SIGHUP)
        server.wait_for_output("the reload failed.*worker_class in .*, not 'gthread'")
        assert requests.get(server.url, timeout=10).text == "hello"


def test_unix_socket_of_a_live_server_is_refused_as_an_occupied_port_is(folder: Path) -> None:
    with server_process(command("--bind", "unix:s"), cwd=folder):
        with server_process(command("--bind", "unix:s"), cwd=folder, ready=False) as second:
            assert second.wait() == 1
            second.wait_for_output("unix:s is in use by another program: stop it")
            assert second.output.count("\n") == 1
        assert (folder / "s").is_socket()


def test_unix_socket_that_nobody_listens_on_is_replaced(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(folder / "s"))
    with server_process(command("--bind", "unix:s"), cwd=folder) as server:
        assert server.url == "unix:s"


def test_unix_socket_with_a_full_backlog_is_taken_and_blocks_nobody(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as client:
        busy.bind(path)
        busy.listen(0)
        client.connect(path)
        with pytest.raises(AddressTaken, match="is in use by another program"):
            check_unix_path(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_user_that_only_root_may_become_is_refused() -> None:
    demoted = (
        "import os, sys, flasknado.process.cli as cli; os.setgid(65534); os.setuid(65534);"
        " sys.argv[0] = 'flasknado'; cli.main()"
    )
    options = ("--chdir", "/", "--user", "root", "--bind", "127.0.0.1:0", "small:app")
    with server_process(("-c", demoted, *options), ready=False) as server:
        assert server.wait() == 1
        server.wait_for_output("--user is 0, but only root can switch to another user")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
@pytest.mark.parametrize(
    "setting", [{"FLASKNADO_TMP_UPLOAD_DIR": "closed"}, {"TMPDIR": "closed"}], ids=str
)
def test_temporary_folder_that_the_workers_user_may_not_write_to_is_refused(
    folder: Path, setting: dict[str, str]
) -> None:
    closed = folder / "closed"
    closed.mkdir(0o755)
    env = {name: str(closed) for name in setting}
    with server_process(command("--user", "nobody"), cwd=folder, env=env, ready=False) as server:
        assert server.wait() == 1
        server.wait_for_output(f"is '{closed}', but that folder is not writable .Permission")
        assert server.output.count("\n") == 1


def test_temporary_folder_that_is_missing_is_said_at_the_start(folder: Path) -> None:
    env = {"FLASKNADO_TMP_UPLOAD_DIR": "none"}
    with server_process(command(), cwd=folder, env=env, ready=False) as server:
        assert server.wait() == 1
        server.wait_for_output("FLASKNADO_TMP_UPLOAD_DIR is 'none', but the folder 'none' does not")
        assert server.output.count("\n") == 1


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("FLASKNADO_CONFIG", "FLASKNADO_CONFIG is 'none', which is not readable .No such file"),
        ("SCRIPT_NAME", "SCRIPT_NAME must begin with a slash, such as /shop, not 'none'"),
    ],
)
def test_bad_variable_is_a_one_line_error(
    folder: Path,
    variable: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, "none")
    test_bad_value_is_a_one_line_error(folder, (), said, monkeypatch, capfd)


def test_key_with_a_password_asks_nobody(folder: Path) -> None:
    options = ("--certfile", "a.crt", "--keyfile", "locked.key")
    with server_process(command(*options), cwd=folder, ready=False) as server:
        assert server.wait() == 1
        server.wait_for_output("the key in 'locked.key' is encrypted, and the server asks for no")


def test_hook_that_makes_the_tls_context_may_load_what_it_likes(folder: Path) -> None:
    (folder / "gunicorn.conf.py").write_text(
        "import ssl\n"
        "certfile = 'a.crt'\n"
        "def ssl_context(config, default):\n"
        "    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        "    context.load_cert_chain('b.crt', 'b.key')\n"
        "    return context\n"
    )
    context = ssl.create_default_context(cafile=str(folder / "b.crt"))
    with (
        server_process(command(), cwd=folder) as server,
        connect(("127.0.0.1", server.port)) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as client,
    ):
        assert client.getpeercert()
