"""What the environment says: gunicorn's own variables, and `FLASKNADO_*` for every setting."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import requests

from flasknado.errors import ConfigurationError
from flasknado.process import environment
from flasknado.process.configuration import HostedConfig
from tests.support.process import server_process
from tests.support.raw import connect, read_to_end

APP = """
import flask
app = flask.Flask("environment")

@app.get("/")
def hello():
    return "hello"

@app.get("/scheme")
def scheme():
    return flask.request.scheme
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small.py").write_text(APP)
    return tmp_path


def test_every_setting_is_read_from_the_environment(folder: Path) -> None:
    (folder / "other.conf.py").write_text("threads = 5\n")
    env = {
        "FLASKNADO_BIND": "127.0.0.1:0,127.0.0.1:0",
        "FLASKNADO_WORKERS": "2",
        "FLASKNADO_THREADS": "3",
        "FLASKNADO_WSGI_APP": "small:app",
        "FLASKNADO_CONFIG": "other.conf.py",
        "FLASKNADO_METRICS_TOKEN": "a-token-of-some-length",
    }
    with server_process(("-m", "flasknado"), env=env, cwd=folder) as server:
        server.wait_for_output(r"(?s)Serving as worker.*Serving as worker")
        assert len(server.wait_for_output(r"Listening at: (.*) \(")[1].split(",")) == 2
        bearer = {"Authorization": "Bearer a-token-of-some-length"}
        url = server.url.partition(",")[0] + "/-/metrics"
        metrics = requests.get(url, headers=bearer, timeout=10).text
    # The configuration file goes before the variables.
    assert 'flasknado_pool_threads{worker="' in metrics
    assert metrics.count("} 5.0\n") >= 2


def test_command_line_and_file_go_before_the_environment(folder: Path) -> None:
    (folder / "gunicorn.conf.py").write_text("max_body = 7\n")
    env = {
        "FLASKNADO_THREADS": "3",
        "FLASKNADO_MAX_BODY": "5",
        "FLASKNADO_METRICS_TOKEN": "a-token-of-some-length",
        "GUNICORN_CMD_ARGS": "--threads 4",
    }
    command = ("-m", "flasknado", "--print-config", "small:app")
    with server_process(command, env=env, cwd=folder, ready=False) as server:
        assert server.wait() == 0
        server.wait_for_output(r"(?m)^threads +=.* 4$")
        server.wait_for_output(r"(?m)^max_body +=.* 7$")
        server.wait_for_output(r"(?m)^metrics_token +=.* \*\*\*$")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("bind", "127.0.0.1:1, unix:/x", ["127.0.0.1:1", "unix:/x"]),
        ("umask", "0o117", 0o117),
        ("umask", "027", 0o27),
        ("preload_app", "true", True),
        ("raw_env", "A=1", ["A=1"]),
        ("cert_reqs", "2", 2),
        ("trusted_fields", "for, proto", ["for", "proto"]),
        ("trusted_fields", "none", []),
        ("forwarded_allow_ips", "unix,10.0.0.0/8", ["unix", "10.0.0.0/8"]),
        ("access_log_format", "json", "json"),
    ],
)
def test_variable_is_understood_as_on_the_command_line(name: str, text: str, value: object) -> None:
    cfg = HostedConfig()
    cfg.apply_defaults({f"FLASKNADO_{name.upper()}": text})
    assert cfg.settings[name].get() == value


def test_hook_is_named_in_a_variable() -> None:
    cfg = HostedConfig()
    cfg.apply_defaults({"FLASKNADO_WHEN_READY": f"{__name__}.when_ready"})
    assert cfg.when_ready is not None
    assert cfg.when_ready.__name__ == "when_ready"


def when_ready(server: object) -> None:
    """A hook of one argument."""


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        (
            "FLASKNADO_WORKERS",
            "many",
            "FLASKNADO_WORKERS must be a whole .*, not 'many'",
        ),
        ("FLASKNADO_PRELOAD_APP", "yes", "FLASKNADO_PRELOAD_APP must be true or false, not 'yes'"),
        ("FLASKNADO_TRUSTED_FIELDS", "ip", "'ip' is not a trusted field: choose from client-cert"),
        ("FLASKNADO_LOGCONFIG_DICT", "{}", "logconfig_dict is a dictionary"),
        ("FLASKNADO_FORWARDED_ALLOW_IPS", "proxy", "'proxy' is not an IP address"),
        ("FORWARDED_ALLOW_IPS", "proxy", "FORWARDED_ALLOW_IPS is 'proxy': 'proxy' is not"),
    ],
)
def test_variable_with_a_bad_value_is_refused(variable: str, value: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        HostedConfig().apply_defaults({variable: value})


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("WEB_CONCURRENCY", "two", "WEB_CONCURRENCY must be a whole number, 1 or more, not 'two'"),
        ("WEB_CONCURRENCY", "0", "WEB_CONCURRENCY must be a whole number, 1 or more, not '0'"),
        ("PORT", "http", "PORT must be a whole number from 0 to 65535, not 'http'"),
        ("PORT", "65536", "PORT must be a whole number from 0 to 65535, not '65536'"),
        ("GUNICORN_CMD_ARGS", "--bind 'x", "GUNICORN_CMD_ARGS is .* no closing quotation"),
        ("GUNICORN_CMD_ARGS", "--speed 9", "GUNICORN_CMD_ARGS is .* unrecognized arguments: --spe"),
        (
            "GUNICORN_CMD_ARGS",
            "--workers x",
            "--workers in GUNICORN_CMD_ARGS must be .* 'x'",
        ),
        ("FORWARDED_ALLOW_IPS", "proxy", "FORWARDED_ALLOW_IPS: 'proxy' is not an IP address"),
        ("FLASKNADO_BIND", "127.0.0.1:99999", "cannot listen on 127.0.0.1:99999"),
    ],
)
def test_variable_with_a_bad_value_stops_startup_with_a_one_line_error(
    folder: Path, variable: str, value: str, said: str
) -> None:
    command = ("-m", "flasknado", "small:app")
    with server_process(command, env={variable: value}, cwd=folder, ready=False) as server:
        assert server.wait() == 1
        server.wait_for_output(said)
        assert server.output.strip().count("\n") == 0


def test_port_of_another_program_is_not_looked_at_where_the_address_is_named() -> None:
    environment.check_port(["127.0.0.1:8000"], {"PORT": "tcp://10.0.0.1:80"})


def test_bundled_server_with_a_bad_variable_of_gunicorn_says_so(folder: Path) -> None:
    env = {"WEB_CONCURRENCY": "two", "DATABASE_URL": f"sqlite:///{folder}/x.db"}
    with server_process(env=env, ready=False) as server:
        assert server.wait() == 1
        server.wait_for_output("WEB_CONCURRENCY must be a whole number, 1 or more, not 'two'")
        assert "Traceback" not in server.output


@pytest.mark.parametrize(
    ("options", "mode"), [((), 0o770), (("--umask", "0"), 0o777), (("--umask", "0117"), 0o660)]
)
def test_unix_socket_is_for_the_user_and_its_group_unless_told_otherwise(
    folder: Path, options: tuple[str, ...], mode: int
) -> None:
    place = folder / "s"
    command = ("-m", "flasknado", "--bind", f"unix:{place}", *options, "small:app")
    with server_process(command, cwd=folder), connect(str(place)) as sock:
        assert stat.S_IMODE(place.stat().st_mode) == mode
        fields = b"Host: a\r\nConnection: close\r\nX-Forwarded-Proto: https\r\n"
        sock.sendall(b"GET /scheme HTTP/1.1\r\n" + fields + b"\r\n")
        assert read_to_end(sock).endswith(b"https")
