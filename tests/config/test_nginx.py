"""Two servers behind a real nginx: balance, live transports, addresses, and the end of the set."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from websockets.sync.client import connect

from config.nginx.__main__ import INSTALL_NGINX, main
from tests.support.person import Person
from tests.support.poll import poll
from tests.support.process import ServerProcess, server_process

TIMEOUT_S = 20
SMALL_SERVER = (
    sys.executable,
    *("-m", "flasknado.process.cli", "tests.config.nginx_application:app"),
    *("--bind", "127.0.0.1:{port}"),
)
needs_nginx = pytest.mark.skipif(
    not os.environ.get("CI") and not (shutil.which("nginx") or Path("/usr/sbin/nginx").exists()),
    reason=f"nginx is not installed: run {INSTALL_NGINX}",
)


@contextmanager
def behind_nginx(*command: str, env: Mapping[str, str] | None = None) -> Iterator[ServerProcess]:
    arguments = ("-m", "config.nginx", *(("--", *command) if command else ()))
    with server_process(arguments, env=env, ready=False) as processes:
        processes.url = processes.wait_for_output(r"nginx:  (http://\S+)")[1]
        yield processes


def server_pids(processes: ServerProcess) -> list[int]:
    return [int(pid) for pid in re.findall(r"^server: \S+ \(pid (\d+)\)", processes.output, re.M)]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def small_site() -> Iterator[str]:
    with behind_nginx(*SMALL_SERVER, env={"MAX_BODY_MB": "1"}) as processes:
        yield processes.url


@pytest.fixture(scope="module")
def bundled_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    database = tmp_path_factory.mktemp("nginx") / "site.db"
    with behind_nginx(env={"DATABASE_URL": f"sqlite:///{database}"}) as processes:
        yield processes.url


@needs_nginx
def test_nginx_requests_are_balanced_over_both_servers(small_site: str) -> None:
    pids = [requests.get(small_site, timeout=TIMEOUT_S).json()["pid"] for _ in range(8)]

    assert len(set(pids)) == 2
    assert {pids.count(pid) for pid in set(pids)} == {4}


@needs_nginx
def test_nginx_forwarding_headers_of_a_client_are_not_believed(small_site: str) -> None:
    spoofed = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "443",
        "X-Real-IP": "203.0.113.9",
        "Forwarded": "for=203.0.113.9",
        "X-Request-ID": "chosen-by-the-client",
    }

    seen = requests.get(small_site, headers=spoofed, timeout=TIMEOUT_S).json()

    assert seen["remote_addr"] == "127.0.0.1"
    assert seen["scheme"] == "http"
    assert seen["url"] == f"{small_site}/"
    assert seen["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert "forwarded" not in seen["headers"]
    assert re.fullmatch("[0-9a-f]{32}", seen["headers"]["x-request-id"])


@needs_nginx
def test_nginx_address_of_the_client_reaches_the_application(small_site: str) -> None:
    port = int(small_site.rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, TIMEOUT_S, ("127.0.0.7", 0))
    try:
        connection.request("GET", "/")
        seen = json.load(connection.getresponse())
    finally:
        connection.close()

    assert seen["remote_addr"] == "127.0.0.7"


@needs_nginx
def test_nginx_other_protocol_than_websocket_is_not_passed_on(small_site: str) -> None:
    headers = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AA"}

    answer = requests.get(small_site, headers=headers, timeout=TIMEOUT_S)

    assert answer.status_code == 200
    assert "upgrade" not in answer.json()["headers"]


@needs_nginx
@pytest.mark.parametrize(("size_bytes", "status"), [(1 << 20, 200), ((1 << 20) + 1, 413)])
def test_nginx_body_limit_is_the_applications(
    small_site: str, size_bytes: int, status: int
) -> None:
    answer = requests.post(small_site, data=b"x" * size_bytes, timeout=TIMEOUT_S)

    assert answer.status_code == status


@needs_nginx
def test_nginx_metrics_are_not_shown(small_site: str) -> None:
    assert requests.get(f"{small_site}/-/healthz", timeout=TIMEOUT_S).status_code == 200
    assert requests.get(f"{small_site}/-/metrics", timeout=TIMEOUT_S).status_code == 404


@needs_nginx
def test_nginx_server_sent_events_arrive_one_by_one(bundled_site: str) -> None:
    writer = Person(bundled_site, "ssewriter")
    writer.register()
    url = f"{bundled_site}/live/events?channel=posts"
    with requests.get(url, stream=True, timeout=TIMEOUT_S) as stream:
        lines = stream.iter_lines(chunk_size=1, decode_unicode=True)
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        for title in ("first", "second", "third"):
            # Whichever of the two servers takes it; and nothing is behind it to push it through.
            writer.write(title)
            data = next(
                line for line in lines if line.startswith("data:") and "post.created" in line
            )
            assert json.loads(data.removeprefix("data:"))["data"]["title"] == title


@needs_nginx
def test_nginx_websocket_is_upgraded(bundled_site: str) -> None:
    writer = Person(bundled_site, "wswriter")
    writer.register()
    url = bundled_site.replace("http", "ws", 1) + "/live/socket"
    with connect(url, open_timeout=TIMEOUT_S) as socket_:
        socket_.send(json.dumps({"type": "subscribe", "channels": ["posts"]}))
        poll(
            lambda: json.loads(socket_.recv(TIMEOUT_S)),
            lambda said: said.get("type") == "subscribed",
        )
        writer.write("over the socket")
        event = poll(
            lambda: json.loads(socket_.recv(TIMEOUT_S)),
            lambda said: said.get("event") == "post.created",
        )

    assert event["data"]["title"] == "over the socket"


@needs_nginx
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nginx_set_when_told_to_stop_ends_completely(number: signal.Signals) -> None:
    with behind_nginx(*SMALL_SERVER) as processes:
        pids = server_pids(processes)
        port = processes.port
        processes.signal(number)

        assert processes.wait() == 0
        assert len(pids) == 2
        assert not any(map(is_running, pids))
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


@needs_nginx
def test_nginx_set_when_a_server_dies_ends_with_a_message() -> None:
    with behind_nginx(*SMALL_SERVER) as processes:
        doomed, other = server_pids(processes)
        os.kill(doomed, signal.SIGKILL)

        assert processes.wait() == 1
        assert re.search(r"the server on port \d+ was ended by SIGKILL", processes.output)
        assert not is_running(other)


@needs_nginx
def test_nginx_when_a_server_cannot_start_ends_with_a_message() -> None:
    arguments = ("-m", "config.nginx", "--", sys.executable, "-c", "raise SystemExit(3)")
    with server_process(arguments, ready=False) as processes:
        assert processes.wait() == 1

    assert re.search(r"the server on port \d+ ended with status 3", processes.output)


@needs_nginx
def test_nginx_on_an_occupied_port_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("PORT", str(port))

        status = main([])

    (sentence,) = capfd.readouterr().err.splitlines()
    assert status == 1
    assert sentence.startswith(f"PORT={port} cannot be listened on")
    assert sentence.endswith(" python -m config.nginx")


def test_nginx_when_missing_is_refused_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *arguments, **named: None)

    assert main([]) == 1
    assert capfd.readouterr().err == f"nginx is not installed: run {INSTALL_NGINX}\n"
