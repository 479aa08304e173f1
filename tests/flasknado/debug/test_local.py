"""Who gets tracebacks and the debugger, and which addresses development mode listens on."""

from __future__ import annotations

import io
import socket
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

import flasknado
from flasknado.debug.debugger import Debugger
from flasknado.debug.local import is_local, is_loopback, is_loopback_socket
from flasknado.errors import ConfigurationError
from flasknado.process import debug_settings
from flasknado.process.options import CommandLineConfig
from tests.support.process import server_process


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.9.10", "::1", "[::1]", "localhost", "LocalHost"]
)
def test_loopback_host_is_one(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", "127.0.0.1.nip.io",
     "::ffff:10.0.0.1", "2130706433", "[::1", "127.0.0.1:80"],
)  # fmt: skip
def test_other_host_is_none(host: str) -> None:
    if host == "[::1":
        assert is_loopback(host)  # as an address; no URL and no field has it so
    else:
        assert not is_loopback(host)


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "app.localhost"])
def test_request_of_this_machine_is_local(host: str) -> None:
    assert is_local("127.0.0.1", host, ["Accept", "Host", "X-Requested-With"])


@pytest.mark.parametrize(
    ("address", "host", "names"),
    [
        ("10.0.0.1", "localhost", []),
        ("", "localhost", []),
        ("127.0.0.1", "", []),
        ("127.0.0.1", "rebound.example:8000", []),
        ("127.0.0.1", "localhost.example", []),
        ("127.0.0.1", "localhost:80@evil.example", []),
        ("127.0.0.1", "localhost", ["FORWARDED"]),
        ("127.0.0.1", "localhost", ["x-forwarded-proto"]),
        ("127.0.0.1", "localhost", ["Cf-Connecting-Ip"]),
    ],
)
def test_request_from_elsewhere_or_through_a_proxy_is_not_local(
    address: str, host: str, names: list[str]
) -> None:
    assert not is_local(address, host, names)


def test_sockets_of_other_addresses_and_of_files_are_not_loopback(tmp_path: Path) -> None:
    for address, loopback in (("127.0.0.1", True), ("0.0.0.0", False)):
        with socket.create_server((address, 0)) as sock:
            assert is_loopback_socket(sock) is loopback
    with socket.socket(socket.AF_UNIX) as sock:
        assert not is_loopback_socket(sock)


def configuration(**values: object) -> CommandLineConfig:
    cfg = CommandLineConfig("usage", prog="flasknado")
    cfg.apply_defaults({})
    for name, value in {"debug": True, **values}.items():
        cfg.assign(name, value, f"--{name}")
    return cfg


@pytest.mark.parametrize(
    "bind",
    [
        "0.0.0.0:8000",
        ":8000",
        "[::]:8000",
        "10.1.2.3:80",
        "example.org:80",
        "unix:/tmp/a",
        "fd://3",
    ],
)
def test_address_that_others_can_reach_is_refused(bind: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        debug_settings.apply(configuration(bind=["127.0.0.1:1", bind]))
    assert str(refused.value) == (
        f"--debug serves a debugger that runs code, on loopback addresses only, but --bind is "
        f"{bind}: use 127.0.0.1:8000, or leave --debug out"
    )


def test_settings_are_made_those_of_development(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "81")
    cfg = configuration(workers=4, preload_app=True, reload=True)
    debug_settings.apply(cfg)
    assert (cfg.workers, cfg.preload_app, cfg.reload) == (1, False, False)
    assert cfg.bind == ["127.0.0.1:81"], "not on every address, as gunicorn would with PORT"
    assert cfg.worker_class_str == debug_settings.WORKER_CLASS


def test_debugger_without_a_pin_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WERKZEUG_DEBUG_PIN", "off")
    with pytest.raises(ConfigurationError, match="WERKZEUG_DEBUG_PIN is off"):
        debug_settings.apply(configuration())


def test_configuration_file_does_not_turn_development_mode_on() -> None:
    cfg = configuration()
    cfg.assign("debug", True, "debug in gunicorn.conf.py")
    with pytest.raises(ConfigurationError, match=r"debug in gunicorn\.conf\.py .* use --debug"):
        debug_settings.apply(cfg)


def test_worker_class_of_ones_own_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="cannot be used with --debug"):
        debug_settings.apply(configuration(worker_class="flasknado.process.worker.Worker"))


def test_server_of_a_program_is_refused_as_the_command_is() -> None:
    with pytest.raises(ConfigurationError, match=r"bind is 0\.0\.0\.0:0: use 127\.0\.0\.1"):
        flasknado.serve(pytest.fail, debug=True, bind="0.0.0.0:0")


TAKES_A_SOCKET = """
import os, sys
os.dup2(int(sys.argv.pop()), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
from flasknado.__main__ import main
main()
"""


def test_socket_that_others_can_reach_ends_the_start_whoever_made_it(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def app(environ, start_response): pass\n")
    with socket.create_server(("0.0.0.0", 0)) as inherited:
        number = inherited.fileno()
        command = ("-c", TAKES_A_SOCKET, "--debug", "app:app", str(number))
        with server_process(command, cwd=tmp_path, ready=False, pass_fds=[number]) as server:
            assert server.wait() != 0
    assert "--debug serves a debugger that runs code, on loopback addresses" in server.output
    assert "Traceback" not in server.output
    assert "Serving as worker" not in server.output


def test_debugger_whose_pin_the_application_turns_off_runs_no_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise ValueError("shown")

    for pin, runs_code in (("123-456-789", True), ("off", False)):
        monkeypatch.setenv("WERKZEUG_DEBUG_PIN", pin)
        environ: dict[str, Any] = {"wsgi.errors": io.StringIO(), "HTTP_ACCEPT": "text/html"}
        environ |= {"HTTP_HOST": "localhost", "REMOTE_ADDR": "127.0.0.1"}
        setup_testing_defaults(environ)
        debugger = Debugger(fails, lambda error: None)
        page = b"".join(debugger(environ, lambda *args: None)).decode()
        assert "ValueError: shown" in page
        assert ("EVALEX = true" in page) is runs_code
        assert debugger.pin == (pin if runs_code else None)


def test_name_that_is_wrong_from_the_start_ends_it_with_one_sentence(tmp_path: Path) -> None:
    command = ("-m", "flasknado", "--debug", "nowhere_at_all:app")
    with server_process(command, cwd=tmp_path, ready=False) as server:
        assert server.wait() != 0
    assert "there is no module 'nowhere_at_all'" in server.output
    assert "Traceback" not in server.output
