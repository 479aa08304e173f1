"""`flasknado --help`, and how errors name what the user wrote."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from gunicorn.config import Config

from flasknado.process import settings
from flasknado.process.gunicorn_settings import HONOURED, REPLACEMENTS
from flasknado.process.options import CommandLineConfig, default_of
from tests.support.process import server_process

OURS, GUNICORNS = "Flasknado options:", "gunicorn options:"


def parser_help(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "200")
    cfg = CommandLineConfig("%(prog)s [OPTIONS] MODULE:APP", prog="flasknado")
    cfg.apply_defaults({})
    return cfg.parser().format_help()


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> str:
    return parser_help(monkeypatch)


def options(text: str) -> set[str]:
    """Return the options that are listed, not those that only a text mentions."""
    lines = re.findall(r"^  (-.*?)(?:   .*)?$", text, re.MULTILINE)
    return {option for line in lines for option in re.findall(r"-{1,2}[\w-]+", line)}


def test_help_lists_our_options_before_gunicorns(page: str) -> None:
    ours, found, gunicorns = page.partition(GUNICORNS)
    assert found
    assert {own.cli[0] for own in settings.OWN} <= options(ours.partition(OURS)[2])
    assert {"--bind", "--workers", "--threads", "--config"} <= options(gunicorns)


def test_help_names_the_other_commands(page: str) -> None:
    assert {"flasknado init", "flasknado doctor", "flasknado deploy"} <= set(
        re.findall(r"flasknado [a-z]+", page)
    )


def test_help_shows_the_defaults_of_this_server(page: str) -> None:
    known = Config().settings
    differ = [name for name in known.keys() & settings.DEFAULTS if known[name].cli]
    assert {"threads", "keepalive", "worker_connections", "umask"} <= set(differ)
    for name in differ:
        setting = known[name]
        if setting.action not in (None, "store"):
            continue
        [listed] = [
            each for each in page.split("\n  -") if setting.cli[-1] in options("  -" + each)
        ]
        assert f"[default: {default_of(setting)}]" in " ".join(listed.split())
        assert f"[default: {setting.default}]" not in listed


def test_help_lists_no_option_that_is_refused(page: str) -> None:
    known = Config().settings
    refused = {option for name in known.keys() & REPLACEMENTS for option in known[name].cli or ()}
    assert {"--spew", "--paste", "--proxy-protocol"} <= refused
    assert not refused & options(page)
    honoured = {option for name in known.keys() & HONOURED for option in known[name].cli or ()}
    assert honoured <= options(page)


def test_help_speaks_of_this_server_only(page: str) -> None:
    assert ":ref:" not in page
    assert "dest" not in page
    assert "[None]" not in page


def test_command_asked_for_help_prints_it_and_ends(tmp_path: Path) -> None:
    with server_process(("-m", "flasknado", "--help"), cwd=tmp_path, ready=False) as server:
        assert server.wait() == 0
        assert server.output.startswith("usage: flasknado [OPTIONS] MODULE:APP\n")
        assert server.output.index(OURS) < server.output.index(GUNICORNS)


def test_option_that_is_refused_says_what_to_use_instead(tmp_path: Path) -> None:
    command = ("-m", "flasknado", "--spew", "small:app")
    with server_process(command, cwd=tmp_path, ready=False) as server:
        assert server.wait() == 1
        server.wait_for_output("flasknado: --spew is True, but .* use --request-timeout")


@pytest.mark.parametrize(
    ("source", "arguments", "env", "said"),
    [
        ("option", ("--queue-timeout", "-1"), {}, "--queue-timeout must be {rule}, not '-1'"),
        (
            "variable",
            (),
            {"FLASKNADO_QUEUE_TIMEOUT": "-1"},
            "FLASKNADO_QUEUE_TIMEOUT must be {rule}, not '-1'",
        ),
        (
            "GUNICORN_CMD_ARGS",
            (),
            {"GUNICORN_CMD_ARGS": "--queue-timeout=-1"},
            "--queue-timeout in GUNICORN_CMD_ARGS must be {rule}, not '-1'",
        ),
        ("file", ("-c", "bad.py"), {}, "queue_timeout in bad.py must be {rule}, not -1"),
    ],
)
def test_error_names_the_setting_as_the_user_wrote_it(
    tmp_path: Path, source: str, arguments: tuple[str, ...], env: dict[str, str], said: str
) -> None:
    (tmp_path / "bad.py").write_text("queue_timeout = -1\n")
    command = ("-m", "flasknado", *arguments, "small:app")
    with server_process(command, cwd=tmp_path, env=env, ready=False) as server:
        assert server.wait() == 1
        rule = "a number of seconds above 0"
        assert server.output == f"flasknado: {said.format(rule=rule)}\n"


def test_error_about_a_secret_does_not_show_it(tmp_path: Path) -> None:
    command = ("-m", "flasknado", "--metrics-token", "short", "small:app")
    with server_process(command, cwd=tmp_path, ready=False) as server:
        assert server.wait() == 1
        server.wait_for_output("--metrics-token must be at least 16 ASCII characters")
        assert "short" not in server.output


def test_second_application_is_refused(tmp_path: Path) -> None:
    command = ("-m", "flasknado", "small:app", "other:app")
    with server_process(command, cwd=tmp_path, ready=False) as server:
        assert server.wait() == 2
        server.wait_for_output("unrecognized arguments: other:app")
