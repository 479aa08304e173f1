"""What a newcomer does, over HTTP, against the real server process."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
import requests
from websockets.sync.client import connect

from tests.live_server.conftest import StartServer
from tests.support.person import TIMEOUT_S, Person
from tests.support.poll import poll
from tests.support.process import PROJECT_ROOT, ServerProcess, server_process

Event = dict[str, Any]


def sse_events(response: requests.Response) -> Iterator[Event]:
    """Yield the named events of an event stream as they arrive."""
    name = ""
    for raw in response.iter_lines(chunk_size=1):
        line = raw.decode()
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: ") and name:
            yield json.loads(line.removeprefix("data: "))
            name = ""


def open_sse(url: str, channel: str = "posts", **headers: str) -> requests.Response:
    answer = requests.get(
        f"{url}/live/events", params={"channel": channel}, headers=headers, stream=True, timeout=30
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    return answer


def long_poll(url: str, after: str | None, timeout_s: float = 20) -> dict[str, Any]:
    parameters = {"channel": "posts", "after": after, "timeout_s": str(timeout_s)}
    answer = requests.get(f"{url}/live/poll", params=parameters, timeout=60)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def cursor_now(url: str) -> str:
    return str(long_poll(url, None, 0)["cursor"])


def test_post_written_in_a_browser_reaches_every_transport(server: ServerProcess) -> None:
    ann = Person(server.url, "ann")
    ann.register()
    cursor = cursor_now(server.url)
    socket_url = server.url.replace("http", "ws") + "/live/socket"
    with (
        closing(open_sse(server.url)) as stream,
        connect(socket_url) as web_socket,
        ThreadPoolExecutor(1) as threads,
    ):
        polled = threads.submit(long_poll, server.url, cursor)
        web_socket.send(json.dumps({"type": "subscribe", "channels": ["posts"], "after": cursor}))
        page = ann.write("Good morning", "All *is* well.")
        assert "Good morning" in page.text

        by_sse = next(sse_events(stream))
        by_poll = polled.result(60)["events"][0]
        by_socket = next(
            event
            for event in (json.loads(web_socket.recv(timeout=20)) for _ in range(10))
            if event.get("event") == "post.created"
        )
    assert by_sse["event"] == "post.created"
    assert by_sse["data"]["title"] == "Good morning"
    assert {key: by_socket[key] for key in by_sse} == by_sse == by_poll


def test_client_back_with_its_last_cursor_gets_exactly_what_it_missed(
    start_server: StartServer,
) -> None:
    server = start_server(WORKERS="2")
    ann = Person(server.url, "ann")
    ann.register()
    with closing(open_sse(server.url)) as stream:
        ann.write("seen")
        last = next(sse_events(stream))["id"]
    for number in range(5):
        ann.write(f"missed {number}")
    with closing(open_sse(server.url, **{"Last-Event-ID": last})) as stream:
        events = sse_events(stream)
        titles = [next(events)["data"]["title"] for _ in range(5)]
        ann.write("live again")
        titles.append(next(events)["data"]["title"])
    assert titles == [*(f"missed {number}" for number in range(5)), "live again"]
    assert [event["data"]["title"] for event in long_poll(server.url, last)["events"]] == titles


def test_event_published_by_one_worker_reaches_a_client_of_another(
    start_server: StartServer,
) -> None:
    first = start_server()
    second = start_server()
    ann = Person(first.url, "ann")
    ann.register()
    with closing(open_sse(second.url)) as stream:
        ann.write("over there")
        assert next(sse_events(stream))["data"]["title"] == "over there"


def test_session_and_token_are_the_same_person_on_both_halves(server: ServerProcess) -> None:
    ann = Person(server.url, "ann")
    assert ann.get("/live/whoami").json()["user"] is None
    ann.register()
    by_cookie = ann.get("/live/whoami").json()
    by_token = requests.get(
        server.url + "/live/whoami", headers=ann.token(), timeout=TIMEOUT_S
    ).json()
    assert by_cookie == by_token
    assert by_cookie["user"]["username"] == "ann"


def test_channel_that_may_not_be_read_is_refused_on_every_transport(server: ServerProcess) -> None:
    for path in ("events", "ndjson", "poll"):
        answer = requests.get(
            f"{server.url}/live/{path}", params={"channel": "secret"}, timeout=TIMEOUT_S
        )
        assert answer.status_code == 403
        assert answer.json()["success"] is False


def test_connection_after_a_bad_host_is_refused_with_400(server: ServerProcess) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x:\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_server_told_to_stop_lets_live_clients_go_and_exits_cleanly(server: ServerProcess) -> None:
    with closing(open_sse(server.url)) as stream:
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert list(sse_events(stream)) == []


def test_worker_killed_is_replaced_and_nothing_committed_is_lost(server: ServerProcess) -> None:
    ann = Person(server.url, "ann")
    ann.register()
    cursor = cursor_now(server.url)
    ann.write("before the crash")
    worker = int(server.wait_for_output(r"Serving as worker with pid: (\d+)")[1])
    os.kill(worker, signal.SIGKILL)
    server.wait_for_output(r"(?s)Serving as worker.*Serving as worker")
    events = long_poll(server.url, cursor)["events"]
    assert [event["data"]["title"] for event in events] == ["before the crash"]


def test_metrics_are_shown_to_this_machine_but_not_through_a_proxy(
    server: ServerProcess,
) -> None:
    url = server.url + "/-/metrics"
    forwarded = {"X-Forwarded-For": "127.0.0.1"}
    assert requests.get(url, timeout=TIMEOUT_S).status_code == 200
    assert requests.get(url, headers=forwarded, timeout=TIMEOUT_S).status_code == 403


def test_access_log_by_setting_tells_of_requests_on_both_halves(start_server: StartServer) -> None:
    server = start_server(ACCESS_LOG="json")
    requests.get(server.url + "/login?access_token=secret", timeout=TIMEOUT_S)
    requests.get(server.url + "/-/healthz", timeout=TIMEOUT_S)
    server.wait_for_output(r'"/login')
    server.wait_for_output(r'"/-/healthz')
    assert "=secret" not in server.output


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"APP_ENV": "production", "SECRET_KEY": ""}, "SECRET_KEY"),
        ({"THREADS": "none"}, "THREADS"),
        ({"DATABASE_URL": "sqlite:////proc/nowhere/app.db"}, "."),
    ],
)
def test_server_with_a_bad_setting_refuses_to_start_in_one_sentence(
    env: dict[str, str], said: str
) -> None:
    with server_process(env=env, ready=False) as server:
        assert server.wait() != 0
        assert said in server.output
        assert "Traceback" not in server.output


def test_server_on_an_occupied_port_says_so_and_how_to_choose_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        with server_process(env={"PORT": port}, ready=False) as server:
            assert server.wait() == 1
            assert server.output == (
                f"port {port} on 127.0.0.1 is in use by another program: "
                "stop it, or choose another port, as PORT=8001 does\n"
            )


def test_command_check_says_that_the_database_answers(tmp_path: Any) -> None:
    env = {"DATABASE_URL": f"sqlite:///{tmp_path}/app.db"}
    with server_process(("server.py", "check"), env=env, ready=False) as server:
        assert server.wait() == 0
        assert "the database answers" in server.output


def test_command_routes_lists_both_halves() -> None:
    with server_process(("server.py", "routes"), cwd=PROJECT_ROOT, ready=False) as server:
        assert server.wait() == 0
    lines = server.output.splitlines()
    assert any(" flask " in line and "/post/<int:post_id>" in line for line in lines)
    assert any(" tornado " in line and "/live/events" in line for line in lines)
    assert any(line.startswith("GET,HEAD,OPTIONS") for line in lines)


def test_readiness_of_the_bundled_server_checks_the_database(server: ServerProcess) -> None:
    answer = poll(
        lambda: requests.get(server.url + "/-/readyz", timeout=TIMEOUT_S), lambda found: found.ok
    )
    assert answer.json()["checks"]["database"] == "ok"
