"""`docs/operations.md`: the commands in its blocks serve, and its nginx passes a prefix on."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.docs.walkthrough import blocks
from tests.support.poll import poll
from tests.support.process import ServerProcess, server_process
from tests.support.programs import need

PAGE = blocks("docs/operations.md")
APPLICATION = """
from flask import Flask, request, url_for

app = Flask("shop")


@app.route("/<path:where>", methods=["GET", "POST"])
@app.route("/", methods=["GET", "POST"])
def index(where=""):
    return url_for("index", where=where, _external=True)
"""
TIMEOUT_S = 20


def block(language: str, part: str) -> str:
    [text] = [each.text for each in PAGE if each.language == language and part in each.text]
    return text


@contextmanager
def shop(folder: Path, command: str, *more: str) -> Iterator[ServerProcess]:
    """Run a command of the page, on free ports of this machine."""
    (folder / "shop.py").write_text(APPLICATION)
    program, *arguments = shlex.split(re.sub(r"[0-9.]+:(8000|9100)", "127.0.0.1:0", command))
    assert program.rpartition("/")[2] == "flasknado"
    env = {"FLASKNADO_BIND": "127.0.0.1:0"}
    with server_process(("-m", "flasknado", *arguments, *more), cwd=folder, env=env) as server:
        yield server
        server.signal(signal.SIGQUIT)  # not with the grace of a service


def test_limits_of_bodies_are_those_that_the_command_names(tmp_path: Path) -> None:
    command = block("console", "--max-body-for").removeprefix("$ ")
    with shop(tmp_path, command) as server:
        for path, size, status in (
            ("/", 2**20, 200),
            ("/", 2**20 + 1, 413),
            ("/upload", 2**20 + 1, 200),
            ("/login", 2**16 + 1, 413),
        ):
            answer = requests.post(server.url + path, data=b"x" * size, timeout=TIMEOUT_S)
            assert answer.status_code == status, path


@pytest.mark.parametrize("language", ["ini", "dockerfile"])
def test_service_and_container_start_a_server_with_its_own_health_address(
    tmp_path: Path, language: str
) -> None:
    if language == "ini":
        [command] = re.findall("^ExecStart=(.*)$", block("ini", "ExecStart"), re.M)
    else:
        [words] = re.findall(r"^CMD (\[.*\])$", block("dockerfile", "CMD"), re.M | re.S)
        command = shlex.join(json.loads(words.replace("\\\n", "")))
    with shop(tmp_path, command) as server:
        assert requests.get(server.url, timeout=TIMEOUT_S).status_code == 200
        urls = re.findall(r"https?://127\.0\.0\.1:\d+", server.output)
        [ops] = {url for url in urls if url != server.url}
        assert requests.get(f"{ops}/-/healthz", timeout=TIMEOUT_S).json() == {"status": "ok"}
        assert requests.get(f"{server.url}/-/healthz", timeout=TIMEOUT_S).text.endswith("/healthz")


def test_location_of_nginx_passes_its_prefix_on(tmp_path: Path) -> None:
    with shop(tmp_path, "flasknado shop:app", "--trusted-fields", "proto,prefix") as server:
        location = block("nginx", "location /shop/").replace(":8000", f":{server.port}")
        socket = tmp_path / "nginx.sock"
        configuration = tmp_path / "nginx.conf"
        paths = "".join(
            f"{kind}_temp_path {tmp_path}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        configuration.write_text(
            f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}\n"
            f"http {{ access_log off; {paths} server {{ listen unix:{socket};\n{location}}} }}\n"
        )
        curl = [need("curl"), "-sS", "--unix-socket", str(socket), "http://example.org/shop/a/b"]
        with subprocess.Popen([need("nginx"), "-c", str(configuration)]) as nginx:
            try:
                poll(socket.exists)
                done = subprocess.run(
                    curl, capture_output=True, text=True, timeout=TIMEOUT_S, check=True
                )
            finally:
                nginx.terminate()
        assert done.stdout == "http://example.org/shop/a/b"
