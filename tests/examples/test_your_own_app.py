"""`docs/your-own-app.md`: its commands are run, its Python is part of what they run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from tests.support.poll import poll
from tests.support.process import PROJECT_ROOT, ServerProcess, server_process

PAGE = (PROJECT_ROOT / "docs" / "your-own-app.md").read_text(encoding="utf-8")
PROGRAMS = Path(__file__).with_name("your_own_app")
TIMEOUT_S = 20


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


COMMANDS = [
    line.removeprefix("$ ")
    for block in blocks("console")
    for line in block.splitlines()
    if line.startswith("$ ")
]
SERVERS = [
    command
    for command in COMMANDS
    if re.match(r"(\w+=\S+ )?(flasknado|gunicorn) ", command) and "--help" not in command
]
TRIED_APART = {
    "pip install path/to/flasknado",
    "flasknado --help",
    "curl http://127.0.0.1:8000/-/healthz",
    "python serve_shop.py",
    "python tornado_shop.py",
    "flask --app shop db init",
    'flask --app shop db migrate -m "live events"',
    "flask --app shop db upgrade",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PROGRAMS, tmp_path / "programs"))


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


def test_page_has_no_command_that_is_not_tried() -> None:
    assert set(COMMANDS) == set(SERVERS) | TRIED_APART
    assert len(SERVERS) >= 10


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.strip().splitlines()[0])
def test_page_quotes_programs_that_run(code: str) -> None:
    assert any(code in path.read_text() for path in PROGRAMS.rglob("*.py")), code


@pytest.mark.parametrize("command", SERVERS)
def test_command_of_the_page_serves(command: str, folder: Path) -> None:
    words = shlex.split(command)
    env = dict([words.pop(0).split("=")]) if "=" in words[0] else {}
    module = {"flasknado": "flasknado.process.cli", "gunicorn": "gunicorn"}[words.pop(0)]
    if "--bind" in words:
        words[words.index("--bind") + 1] = "127.0.0.1:0"
    else:
        words += ["--bind", "127.0.0.1:0"]
    mount = words[words.index("--mount") + 1] if "--mount" in words else env.get("SCRIPT_NAME", "")
    title = "Winter shop" if "Winter" in command else "Shop"
    if ":routes" in command:
        env["DATABASE_URL"] = f"sqlite:///{folder}/shop.db"
        make_tables = "from shop import app, db; app.app_context().push(); db.create_all()"
        run(("-c", make_tables), folder, **env)
    with server_process(("-m", module, *words), cwd=folder, env=env) as server:
        assert get(f"{server.url}{mount}/").text == f"{title}, at {mount}/ for nobody\n"
        if "shop.native:routes" in command or "--config" in command:
            assert get(f"{server.url}{mount}/countdown").text == "3, nobody\n2, nobody\n1, nobody\n"
        if ":routes" in command:
            assert get(f"{server.url}{mount}/live/events?channel=orders").status_code == 403
        if mount:
            assert get(server.url + "/").status_code == 404


def test_python_of_the_page_serves_both_halves_and_health(folder: Path) -> None:
    with server_process(("serve_shop.py",), cwd=folder) as server:
        url = f"http://127.0.0.1:{server.port}"
        with requests.Session() as session:
            session.post(url + "/login", data={"name": "Ann"}, timeout=TIMEOUT_S)
            assert session.get(url + "/", timeout=TIMEOUT_S).text == "Shop, at / for Ann\n"
            counted = session.get(url + "/countdown", timeout=TIMEOUT_S).text
            assert counted == "3, Ann\n2, Ann\n1, Ann\n"
        ticks = get(url + "/ticks")
        assert ticks.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert ticks.text.startswith('event: tick\ndata: {"path": "/ticks", "tick": 0}\n\n')
        assert ticks.text.count("event: tick") == 3
        assert get(url + "/export").text == '{"row": 0}\n{"row": 1}\n{"row": 2}\n'
        assert get(url + "/later").text == "/later, later\n"
        answer = get(url + "/-/healthz")
        assert answer.text.strip() in PAGE
        assert answer.json() == {"status": "ok"}


def test_container_of_the_page_takes_the_place_of_tornados(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def version() -> str:
        with suppress(requests.ConnectionError):
            return get(f"http://127.0.0.1:{port}/version").text
        return ""

    env = {"PORT": str(port)}
    with server_process(("tornado_shop.py",), cwd=folder, env=env, ready=False):
        poll(version, lambda text: text == "1.0")
        assert get(f"http://127.0.0.1:{port}/").text == "Shop, at / for nobody\n"


def test_migrations_of_the_page_make_the_tables_that_live_events_need(folder: Path) -> None:
    env = {"DATABASE_URL": f"sqlite:///{folder}/shop.db"}
    for command in COMMANDS:
        if command.startswith("flask "):
            run(("-m", *shlex.split(command)), folder, **env)
    arguments = ("--handlers", "shop.native:routes", "--bind", "127.0.0.1:0", "shop:app")
    with server_process(("-m", "flasknado.process.cli", *arguments), cwd=folder, env=env) as server:
        look_at_orders(server)


def look_at_orders(server: ServerProcess) -> None:
    with requests.Session() as session:
        session.post(server.url + "/login", data={"name": "Ann"}, timeout=TIMEOUT_S)
        polled = session.get(
            server.url + "/live/poll?channel=orders&timeout_s=0", timeout=TIMEOUT_S
        ).json()
        for item in ("tea", "nothing", "milk"):
            session.post(server.url + "/orders", data={"item": item}, timeout=TIMEOUT_S)
        after = {"channel": "orders", "after": polled["cursor"]}
        found = session.get(server.url + "/live/poll", params=after, timeout=TIMEOUT_S).json()
        assert [event["data"]["item"] for event in found["events"]] == ["tea", "milk"]
        asked = session.post(server.url + "/ask", data={"prompt": "why?"}, timeout=TIMEOUT_S)
        assert asked.status_code == 202
        after = {"channel": "orders", "after": asked.json()["cursor"]}
        names: list[str] = []
        while "run.finished" not in names:
            found = session.get(server.url + "/live/poll", params=after, timeout=TIMEOUT_S).json()
            names += [event["event"] for event in found["events"]]
            after["after"] = found["cursor"]
        assert names == ["run.started", "token", "token", "token", "run.finished"]


def test_help_of_the_command_has_every_option_of_the_page(folder: Path) -> None:
    listed = run(("-m", "flasknado.process.cli", "--help"), folder).stdout
    options = re.findall(r"`(--[a-z-]+)", PAGE)
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
