"""`README.md`: its programs and commands are run as printed, from an empty folder."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.support.process import PROJECT_ROOT, ServerProcess, server_process
from tests.support.programs import need

README = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ")
    for language, text in BLOCKS
    if language == "console"
    for line in text.splitlines()
    if line.startswith("$ ")
]
INSTALL, HELLO, POSTS, FOLLOW, PUBLISH = COMMANDS
DEADLINE_S = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the programs of the page, and what its first command installs."""
    folder = tmp_path_factory.mktemp("readme")
    for language, text in BLOCKS:
        if language == "python":
            name = re.match(r"# (\w+\.py)\n", text)
            assert name is not None, f"this program has no name: {text}"
            (folder / name[1]).write_text(text)
    *pip, place = shlex.split(INSTALL)
    assert (pip, place) == (["pip", "install"], "path/to/flasknado")
    offline = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation")
    subprocess.run(
        [sys.executable, "-m", *pip, *offline, "--target", str(folder / "site"), str(PROJECT_ROOT)],
        check=True,
        cwd=folder,
    )
    return folder


@contextmanager
def serving(folder: Path, command: str) -> Iterator[ServerProcess]:
    """Run a command of the page that serves, on a free port."""
    program, *arguments = shlex.split(command)
    first = (str(folder / "site" / "bin" / "flasknado"),) if program == "flasknado" else ()
    env = {"FLASKNADO_BIND": "127.0.0.1:0", "PYTHONPATH": str(folder / "site")}
    with server_process((*first, *arguments), cwd=folder, env=env) as server:
        assert "WARNING" not in server.output
        yield server


def curl(server: ServerProcess, command: str) -> list[str]:
    program, *arguments = shlex.split(command.replace(":8000", f":{server.port}"))
    return [need(program), "-sS", "--max-time", str(DEADLINE_S), *arguments]


def printed_after(command: str) -> str:
    found = re.search(rf"^\$ {re.escape(command)}\n(.*?)(?=^\$|^```)", README, re.M | re.S)
    assert found is not None
    return found[1]


def test_first_command_that_serves_is_on_the_first_screen() -> None:
    assert f"$ {HELLO}" in README.splitlines()[:22]


def test_commands_that_make_an_administrator_exist() -> None:
    from webapp.cli import users

    named = set(re.findall(r"`[^`]*\busers ([a-z]+) NAME", README))
    assert named == {"promote", "create"}
    assert named <= set(users.commands)
    assert "admin" in [option.name for option in users.commands["create"].params]


def test_hello_is_served_by_the_installed_command(folder: Path) -> None:
    with serving(folder, HELLO) as server:
        assert requests.get(server.url, timeout=DEADLINE_S).text == "Hello, world!\n"


@pytest.mark.parametrize("command", [POSTS, "python serve_posts.py"])
def test_event_reaches_a_subscriber_as_printed(folder: Path, command: str) -> None:
    assert command in README
    [expected] = [text for language, text in BLOCKS if language == "text"]
    (folder / "instance" / "posts.db").unlink(missing_ok=True)
    with (
        serving(folder, command) as server,
        subprocess.Popen(curl(server, FOLLOW), stdout=subprocess.PIPE, text=True) as follower,
    ):
        assert follower.stdout is not None
        lines = [follower.stdout.readline() for _ in range(4)]
        done = subprocess.run(
            curl(server, PUBLISH), capture_output=True, text=True, check=True, cwd=folder
        )
        assert done.stdout == printed_after(PUBLISH)
        lines += [follower.stdout.readline() for _ in range(len(expected.splitlines()) - 4)]
        follower.kill()
    epoch = re.search(r"^id: (\w+):0$", "".join(lines), re.M)
    assert epoch is not None, lines
    assert "".join(lines).replace(epoch[1], "3f2a9c01") == expected
