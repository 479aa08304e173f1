"""`docs/your-own-app.md`: its files are written and its commands run, in the page's order."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from tests.docs.walkthrough import PLACE, Walk, blocks, commands
from tests.support.poll import poll
from tests.support.process import PROJECT_ROOT, server_process

PAGE = "docs/your-own-app.md"
TEXT = (PROJECT_ROOT / PAGE).read_text(encoding="utf-8")
TIMEOUT_S = 20


class Checked(Walk):
    """A reader who looks at what each command serves."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.served: list[str] = []

    def command(self, command: str, printed: list[str]) -> None:
        if command == "python tornado_shop.py":
            self.serve_tornado()
        else:
            super().command(command, printed)

    def serve(self, command: str) -> None:
        super().serve(command)
        self.served.append(command)
        assert self.server is not None
        url = self.server.url
        if "answers:app" in command:
            look_at_answers(url)
            return
        mount = "/shop" if "=/shop" in command or "--mount" in command else ""
        title = "Winter shop" if "Winter" in command else "Shop"
        assert get(f"{url}{mount}/").text == f"{title}, at {mount}/ for nobody\n"
        if "shop.native:routes" in command or "serve_shop" in command:
            assert get(f"{url}{mount}/countdown").text == "3, nobody\n2, nobody\n1, nobody\n"
        if ":routes" in command or "--config" in command:
            assert get(f"{url}{mount}/live/events?channel=orders").status_code == 403
        if mount:
            assert get(f"{url}/").status_code == 404

    def serve_tornado(self) -> None:
        """The page's program listens on the page's port: on another one in a test."""
        self.served.append("python tornado_shop.py")
        program = self.folder / "tornado_shop.py"
        port = free_port()
        text = program.read_text()
        assert "8000" in text
        program.write_text(text.replace("8000", str(port)))

        def version() -> str:
            with suppress(requests.ConnectionError):
                return get(f"http://127.0.0.1:{port}/version").text
            return ""

        with server_process((program.name,), cwd=self.folder, ready=False):
            poll(version, "1.0".__eq__)
            assert get(f"http://127.0.0.1:{port}/").text == "Shop, at / for nobody\n"


def look_at_answers(url: str) -> None:
    ticks = get(url + "/ticks")
    assert ticks.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert ticks.text.startswith('event: tick\ndata: {"path": "/ticks", "tick": 0}\n\n')
    assert ticks.text.count("event: tick") == 3
    asked = requests.post(url + "/ask", data={"prompt": "why?"}, timeout=TIMEOUT_S)
    assert asked.status_code == 202
    assert asked.json()["channel"] == "answers"


def look_at_both_halves(folder: Path) -> None:
    env = {"FLASKNADO_BIND": "127.0.0.1:0"}
    with server_process(("serve_shop.py",), cwd=folder, env=env) as server:
        with requests.Session() as session:
            session.post(server.url + "/login", data={"name": "Ann"}, timeout=TIMEOUT_S)
            assert session.get(server.url + "/", timeout=TIMEOUT_S).text == "Shop, at / for Ann\n"
            counted = session.get(server.url + "/countdown", timeout=TIMEOUT_S).text
            assert counted == "3, Ann\n2, Ann\n1, Ann\n"
        assert get(server.url + "/-/healthz").json() == {"status": "ok"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checked]:
    with Checked(tmp_path_factory.mktemp("reader")) as walk:
        yield walk


def get(url: str) -> requests.Response:
    return requests.get(url, timeout=TIMEOUT_S)


def run(arguments: Sequence[str], cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


@pytest.mark.timeout(300)  # a dozen servers, one after another
def test_page_can_be_followed_from_an_empty_folder(walk: Checked) -> None:
    page = blocks(PAGE)
    walk.follow(page)
    assert len(walk.served) >= 12
    shown = [
        command for block in page if block.language == "console" for command in commands(block)
    ]
    assert len(walk.ran) == len(shown) - 2  # the installation, and Tornado's program
    assert PLACE in TEXT
    look_at_both_halves(walk.folder)


def test_help_of_the_command_has_every_option_of_the_page(tmp_path: Path) -> None:
    listed = run(("-m", "flasknado.process.cli", "--help"), tmp_path).stdout
    options = re.findall(r"`(--[a-z-]+)", TEXT)
    assert len(options) > 8
    assert [option for option in options if option not in listed] == []


def test_package_that_pip_makes_is_whole(tmp_path: Path) -> None:
    pip = ("-m", "pip", "--disable-pip-version-check", "wheel", "--quiet")
    run(
        (*pip, "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(PROJECT_ROOT)),
        tmp_path,
    )
    with zipfile.ZipFile(next(tmp_path.glob("flasknado-*.whl"))) as wheel:
        names = set(wheel.namelist())
        entry_points = wheel.read(next(name for name in names if name.endswith("entry_points.txt")))
    sources = {
        path.relative_to(PROJECT_ROOT).as_posix()
        for path in (PROJECT_ROOT / "flasknado").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert sources <= names
    assert {name.partition("/")[0] for name in names - sources} == {"flasknado-0.1.0.dist-info"}
    assert b"flasknado=flasknado.__main__:main" in entry_points.replace(b" ", b"")
