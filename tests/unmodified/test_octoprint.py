"""OctoPrint as it comes, on Tornado's server, and as `docs/from-tornado.md` ports it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from tests.support.process import server_process
from tests.unmodified.conftest import takes_long
from tests.unmodified.environments import Environments
from tests.unmodified.walking import (
    TIMEOUT_S,
    Walker,
    apply_diff,
    assert_same,
    diffs_of,
    free_port,
    linked_copy,
    wait_until_answering,
)

pytestmark = [pytest.mark.timeout(600), takes_long]

CHANGED = "octoprint/server/__init__.py"
PRINT = b"".join(b"G1 X%d Y%d E1\n" % (number % 200, number // 200) for number in range(100_000))
CONFIG = """
accessControl: {salt: salt}
plugins:
  _disabled: [announcements, backup, discovery, errortracking, pi_support, softwareupdate, tracking]
server: {firstRun: false, onlineCheck: {enabled: false}, secretKey: secret}
"""
VARYING = (
    r'"(date|analysis|hash|token|session|auth_nonce|csrf_token)": ?("[^"]*"|[\d.]+)',
    r"csrf_token_P\d+",
    r"\d{4}-\d\d-\d\d[T ][\d:.]+(\+00:00)?",
)


def prepared(environments: Environments, folder: Path) -> Path:
    """Return a folder with a configuration and one user."""
    folder.mkdir()
    (folder / "config.yaml").write_text(CONFIG)
    command = ("-m", "octoprint", "--basedir", str(folder), "user", "add", "ann")
    subprocess.run(
        [environments.python("octoprint"), *command, "--admin", "--password", "secret"],
        check=True,
        capture_output=True,
        timeout=120,
    )
    return folder


@contextlib.contextmanager
def octoprint(environments: Environments, folder: Path, path: str = "") -> Iterator[Walker]:
    """Run it on a folder of its own."""
    port = free_port()
    command = ("-W", "ignore", "-m", "octoprint", "serve", "--basedir", str(folder))
    options = ("--host", "127.0.0.1", "--port", str(port), "--iknowwhatimdoing")
    python = environments.python("octoprint")
    env = {"PYTHONPATH": path, "PYTHONHASHSEED": "0"}
    url = f"http://127.0.0.1:{port}"
    with server_process(
        (*command, *options), python=python, env=env, cwd=folder, ready=False
    ) as server:
        wait_until_answering(server, url + "/api/version", 403)
        yield Walker(url, *VARYING, str(folder), rf"\b{port}\b")
    assert server.process.returncode == 0, server.output


def walk(walker: Walker) -> None:
    walker.step("GET", "/online.txt")
    walker.step("GET", "/api/version")
    assert "OctoPrint" in walker.get(walker.url + "/", timeout=TIMEOUT_S).text
    [token] = [value for name, value in walker.cookies.items() if name.startswith("csrf_token")]
    walker.headers["X-CSRF-Token"] = token
    login = {"user": "ann", "pass": "wrong", "remember": False}
    walker.step("POST", "/api/login", json=login)
    said = walker.step("POST", "/api/login", json={**login, "pass": "secret"}).json()
    assert said.get("name") == "ann", said
    assert walker.step("GET", "/api/version").json()["server"] == "1.11.8"
    files = {"file": ("whale.gcode", PRINT, "application/octet-stream")}
    sent = walker.step("POST", "/api/files/local", files=files, data={"print": "false"})
    assert sent.json()["done"] is True
    forged = {"file.path": "/etc/passwd", "file.name": "passwd.gcode"}
    assert walker.step("POST", "/api/files/local", data=forged).status_code == 400
    assert walker.step("GET", "/api/files/local/whale.gcode").json()["size"] == len(PRINT)
    download = "/downloads/files/local/whale.gcode"
    assert walker.step("GET", download).content == PRINT
    part = walker.step("GET", download, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, PRINT[100:200])
    walker.step("HEAD", download)
    walker.step("GET", "/downloads/logs/..%2F..%2Fconfig.yaml")
    copy = {"command": "copy", "destination": "again.gcode"}
    walker.step("POST", "/api/files/local/whale.gcode", json=copy)
    walker.step("GET", "/api/printer")
    walker.step("POST", "/api/settings", json={"appearance": {"name": "A name"}})
    assert "A name" in walker.step("GET", "/api/settings").text
    walker.step("DELETE", "/api/files/local/whale.gcode")
    walker.step("GET", "/api/files/local/whale.gcode")
    walker.step("GET", "/static/img/logo.png")
    walker.step("GET", "/no-such-page")
    assert walker.step("POST", "/sockjs/000/walker1/xhr").content == b"o\n"
    connected = walker.post(walker.url + "/sockjs/000/walker1/xhr", timeout=TIMEOUT_S)
    assert b'"connected"' in connected.content
    assert first_of_socket(walker)["connected"]["version"] == "1.11.8"
    walker.step("POST", "/api/logout")
    walker.step("GET", "/api/settings")


def first_of_socket(walker: Walker) -> dict[str, dict[str, object]]:
    """Return the first message of SockJS over a WebSocket."""

    async def ask() -> str | bytes | None:
        url = walker.url.replace("http:", "ws:") + "/sockjs/000/walker2/websocket"
        socket = await websocket_connect(HTTPRequest(url, headers={"Origin": walker.url}))
        try:
            assert await socket.read_message() == "o"
            return await socket.read_message()
        finally:
            socket.close()
            await socket.read_message()

    message = asyncio.run(asyncio.wait_for(ask(), TIMEOUT_S))
    assert isinstance(message, str)
    assert message[:1] == "a"
    first: dict[str, dict[str, object]] = json.loads(message[1:])[0]
    return first


def test_octoprint_ported_answers_as_it_does_on_tornado(
    environments: Environments, tmp_path: Path
) -> None:
    folder = prepared(environments, tmp_path / "stock")
    shutil.copytree(folder, tmp_path / "own")
    with octoprint(environments, folder) as stock:
        walk(stock)
    [package] = environments.python("octoprint").parent.parent.glob("lib/*/site-packages/octoprint")
    linked_copy(package, tmp_path / "ported", {CHANGED})
    apply_diff(diffs_of("from-tornado.md", CHANGED), tmp_path / "ported")
    with octoprint(environments, tmp_path / "own", str(tmp_path / "ported")) as ported:
        walk(ported)
        # Ours are refused as such; Tornado answers 400 and closes.
        large = {"data": b"0" * 200_000, "timeout": TIMEOUT_S}
        assert ported.post(ported.url + "/api/settings", **large).status_code == 413
    assert_same(stock.answers, ported.answers)
