"""Settings are checked by value: what will not do ends the start with one sentence."""

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
        (("-k", "gthread"), "worker_class is 'gthread', but it must be flasknado.process.worker"),
        (("-k", "eventlet"), "worker_class is 'eventlet', which cannot be imported"),
        (("--logger-class", "gunicorn.glogging.Logger"), "it must be flasknado.process.logger"),
        (("--log-level", "loud"), "loglevel is 'loud', and must be one of critical, error, warn"),
        (("--workers", "0"), "workers is 0, and must be 1 or more"),
        (("--workers", "-1"), "workers is -1, which will not do"),
        (("--threads", "0"), "threads is 0, and must be 1 or more"),
        (("--queue-timeout", "nan"), "queue_timeout is nan, which will not do"),
        (("--log-format", "xml"), "log_format is 'xml', and must be one of text, json"),
        (("--umask", "0o7777"), "umask is 0o7777, and must be from 0 to 0o777"),
        (("--env", "NAME"), "raw_env has 'NAME', and must have NAME=VALUE"),
        (("--bind", "127.0.0.1:99999"), "127.0.0.1:99999 cannot be listened on: ports are 0 to"),
        (("--bind", "[::1]:99999"), "::1:99999 cannot be listened on: ports are 0 to 65535"),
        (("--bind", "127.0.0.1:http"), "'http' is not a valid port number"),
        (("--bind", "127.0.0.1:99999", "--reuse-port"), "ports are 0 to 65535"),
        (("--bind", "fd://999"), "fd://999 cannot be served .Bad file descriptor"),
        (("--bind", "unix:small.py"), "there is a file that is no socket"),
        (("--bind", "unix:no/folder/s"), "there is no folder 'no/folder': make it first"),
        (("--bind", f"unix:{'x' * 120}"), "the path has 120 bytes, and a Unix socket's may have"),
        (("--ops-bind", "unix:small.py"), "there is a file that is no socket"),
        (("--error-logfile", "no/folder/log"), "errorlog is 'no/folder/log', which cannot be wr"),
        (("--access-logfile", "."), "accesslog is '.', which cannot be written"),
        (("--log-config", "none.ini"), "logconfig is 'none.ini', but there is no such file"),
        (("--log-config-json", "none.json"), "logconfig_json is 'none.json', but there is no such"),
        (("--log-syslog", "--log-syslog-facility", "x"), "syslog_facility is 'x', and must be one"),
        (("--pid", "no/folder/pid"), "pidfile is 'no/folder/pid', but there is no folder"),
        (("--worker-tmp-dir", "no/folder"), "worker_tmp_dir is 'no/folder', but there is no fold"),
        (("--certfile", "none.crt"), "certfile is 'none.crt', which cannot be read .No such file"),
        (("--certfile", "a.crt", "--keyfile", "none"), "keyfile is 'none', which cannot be read"),
        (("--certfile", "a.crt", "--keyfile", "b.key"), "the key is not that of the certificate"),
        (("--certfile", "a.crt"), "certfile must have a certificate and its key, in PEM"),
        (("--certfile", "small.py", "--keyfile", "a.key"), "must have a certificate, and keyfile"),
        (("--keyfile", "a.key"), "there is a keyfile but no certfile: set both"),
        (
            ("--certfile", "a.crt", "--keyfile", "a.key", "--cert-reqs", "7"),
            "cert_reqs is 7, and must be 0",
        ),
        (
            ("--certfile", "a.crt", "--keyfile", "a.key", "--ciphers", "x"),
            "ciphers is 'x', which will not do",
        ),
        (
            ("--certfile", "a.crt", "--keyfile", "a.key", "--ca-certs", "small.py"),
            "ca_certs is 'small.py', which will not do",
        ),
    ],
)
def test_value_that_will_not_do_is_one_sentence(
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
        (("-k", "gthread"), "worker_class is 'gthread'"),
        (("--certfile", "a.crt", "--keyfile", "b.key"), "the key is not that of the certificate"),
        (("--bind", "unix:small.py"), "there is a file that is no socket"),
    ],
)
def test_process_started_with_it_ends_with_that_sentence(
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
        server.wait_for_output("worker_class is 'gthread', .* remove the setting")
        assert server.output.count("\n") == 1


def test_bad_type_in_a_configuration_file_is_one_sentence(folder: Path) -> None:
    (folder / "gunicorn.conf.py").write_text("workers = 'many'\n")
    with server_process(command(), cwd=folder, ready=False) as server:
        assert server.wait() == 1
        server.wait_for_output("workers is 'many', which will not do")
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
        server.wait_for_output("the reload is given up.*worker_class is 'gthread'")
        assert requests.get(server.url, timeout=10).text == "hello"


def test_unix_socket_of_a_live_server_is_refused_as_an_occupied_port_is(folder: Path) -> None:
    with server_process(command("--bind", "unix:s"), cwd=folder):
        with server_process(command("--bind", "unix:s"), cwd=folder, ready=False) as second:
            assert second.wait() == 1
            second.wait_for_output("unix:s is taken by another program: stop that one")
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
        with pytest.raises(AddressTaken, match="is taken by another program"):
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
        server.wait_for_output("user is 0, and only root may become another user")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
@pytest.mark.parametrize(
    "setting", [{"FLASKNADO_TMP_UPLOAD_DIR": "closed"}, {"TMPDIR": "closed"}], ids=str
)
def test_temporary_folder_that_the_workers_user_may_not_write_to_is_refused(
    folder: Path, setting: dict[str, str]
) -> None:
    folder.chmod(0o755)
    for parent in folder.parents[:2]:
        parent.chmod(0o755)
    closed = folder / "closed"
    closed.mkdir(0o755)
    env = {name: str(closed) for name in setting}
    with server_process(command("--user", "nobody"), cwd=folder, env=env, ready=False) as server:
        assert server.wait() == 1
        server.wait_for_output(f"is '{closed}', but nothing can be written there .Permission")
        assert server.output.count("\n") == 1


def test_temporary_folder_that_is_missing_is_said_at_the_start(folder: Path) -> None:
    env = {"FLASKNADO_TMP_UPLOAD_DIR": "none"}
    with server_process(command(), cwd=folder, env=env, ready=False) as server:
        assert server.wait() == 1
        server.wait_for_output("tmp_upload_dir is 'none', but there is no folder 'none': make it")
        assert server.output.count("\n") == 1


def test_key_with_a_password_asks_nobody(folder: Path) -> None:
    options = ("--certfile", "a.crt", "--keyfile", "locked.key")
    with server_process(command(*options), cwd=folder, ready=False) as server:
        assert server.wait() == 1
        server.wait_for_output("the key in 'locked.key' is encrypted, and nobody is asked for")


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
