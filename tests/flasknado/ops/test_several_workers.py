"""Operations of several processes: one sum of numbers, one address of their own."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.support.poll import poll
from tests.support.process import ServerProcess, server_process
from tests.support.raw import connect, read_to_end

APP = """
import os, threading, flask, tornado.web
app = flask.Flask("workers")

@app.get("/pid")
def pid():
    return str(os.getpid())

@app.get("/hang")
def hang():
    threading.Event().wait(60)

class Freeze(tornado.web.RequestHandler):
    def get(self):
        threading.Event().wait(60)

routes = [(r"/freeze", Freeze)]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "workers.py").write_text(APP)
    return tmp_path


def serve(folder: Path, *options: str) -> AbstractContextManager[ServerProcess]:
    command = ("-m", "flasknado.process.cli", "-b", "127.0.0.1:0", "--worker-tmp-dir", str(folder))
    return server_process((*command, *options, "workers:app"), cwd=folder)


def ask(server: ServerProcess, count: int) -> set[int]:
    """Ask so many times, on a new connection each; returns who answered."""
    answers = [requests.get(server.url + "/pid", timeout=10) for _ in range(count)]
    return {int(answer.text) for answer in answers}


def values(url: str) -> dict[tuple[str, str], float]:
    """Return the sums of the samples by name and route (or reason)."""
    sums: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(requests.get(url + "/-/metrics", timeout=10).text):
        for sample in family.samples:
            key = (sample.name, sample.labels.get("route") or sample.labels.get("reason", ""))
            sums[key] = sums.get(key, 0.0) + sample.value
    return sums


def requests_counted(url: str) -> float:
    return values(url).get(("flasknado_requests_total", "/pid"), 0.0)


def test_counters_over_workers_a_crash_a_reload_and_a_recycling_never_go_backwards(
    folder: Path,
) -> None:
    with serve(folder, "-w", "2") as server:
        server.wait_for_output(r"(?s)Serving as worker.*Serving as worker")
        seen = 0
        answered: set[int] = set()
        while len(answered) < 2:
            answered |= ask(server, 10)
            seen += 10
        # Whoever is asked knows of all; the others write once a second.
        poll(lambda: requests_counted(server.url), lambda count: count == seen)
        os.kill(answered.pop(), signal.SIGKILL)
        poll(lambda: values(server.url).get(("flasknado_workers_ended_total", "died")) == 1)
        assert requests_counted(server.url) == seen
        server.signal(signal.SIGHUP)
        server.wait_for_output("Reloaded: generation 2 serves")
        poll(lambda: values(server.url).get(("flasknado_workers_ended_total", "reload")) == 2)
        assert requests_counted(server.url) == seen
        ask(server, 5)
        poll(lambda: requests_counted(server.url), lambda count: count == seen + 5)
        found = values(server.url)
        assert found["flasknado_workers", ""] == 2
        assert found["flasknado_workers_started_total", ""] == 5
        [store] = folder.glob("flasknado-*")
        assert stat.S_IMODE(store.stat().st_mode) == 0o700
        server.stop()
    assert not list(folder.glob("flasknado-*"))


def test_worker_whose_loop_is_frozen_leaves_its_last_lines_and_numbers(folder: Path) -> None:
    options = ("--handlers", "workers:routes", "--timeout", "3", "--access-logfile", "-")
    with serve(folder, *options) as server:
        ask(server, 1)
        with connect(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /freeze HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_for_output(r"(?s)Serving as worker.*Serving as worker")
        assert '"GET /pid HTTP/1.1" 200 ' in server.output
        assert requests_counted(server.url) == 1
        assert values(server.url)["flasknado_workers_ended_total", "frozen"] == 1


def test_numbers_of_a_killed_arbiter_are_removed_by_the_next_and_no_others(folder: Path) -> None:
    with serve(folder) as killed, serve(folder) as living:
        stores = set(folder.glob("flasknado-*"))
        worker = ask(killed, 1).pop()
        killed.process.kill()
        poll(lambda: _is_gone(worker))
        with serve(folder):
            assert len(stores & set(folder.glob("flasknado-*"))) == 1
            ask(living, 2)
            poll(lambda: requests_counted(living.url), lambda count: count == 2)


def test_counters_asked_without_a_pause_never_go_backwards(folder: Path) -> None:
    with serve(folder, "-w", "3", "--max-requests", "60", "--max-requests-jitter", "30") as server:
        counts = []
        for _ in range(60):
            ask(server, 4)
            counts.append(requests_counted(server.url))
        assert counts == sorted(counts)
        poll(lambda: requests_counted(server.url), lambda count: count == 240)


def ops_url(server: ServerProcess) -> str:
    return server.wait_for_output(r"Operations at: (http://\S+)/-")[1]


def test_ops_address_answers_for_all_workers_and_the_application_does_not(folder: Path) -> None:
    with serve(folder, "-w", "2", "--ops-bind", "127.0.0.1:0") as server:
        url = ops_url(server)
        assert requests.get(url + "/-/healthz", timeout=10).json() == {"status": "ok"}
        assert requests.get(url + "/-/readyz", timeout=10).json()["status"] == "ready"
        assert requests.get(url + "/pid", timeout=10).status_code == 404
        assert requests.get(server.url + "/-/healthz", timeout=10).status_code == 404
        ask(server, 3)
        poll(lambda: requests_counted(url), lambda count: count == 3)
        # What operators ask is not the application's counters.
        assert not any("/-/" in route for _, route in values(url))


def test_ops_address_answers_while_every_thread_hangs_and_the_connections_are_full(
    folder: Path,
) -> None:
    options = ("--threads", "1", "--worker-connections", "1", "--ops-bind", "127.0.0.1:0")
    with serve(folder, *options) as server:
        url = ops_url(server)
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
            poll(lambda: values(url)["flasknado_pool_threads_busy", ""] == 1)
            assert requests.get(server.url + "/pid", timeout=10).status_code == 503
            assert requests.get(url + "/-/healthz", timeout=10).ok
            assert values(url)["flasknado_connections_refused_total", ""] >= 1
        server.signal(signal.SIGQUIT)
        assert server.wait() == 0


def test_ops_address_after_a_reload_is_answered_by_the_new_workers_only(folder: Path) -> None:
    with serve(folder, "--ops-bind", "127.0.0.1:0", "--graceful-timeout", "60") as server:
        url = ops_url(server)
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
            poll(lambda: values(url)["flasknado_pool_threads_busy", ""] == 1)
            server.signal(signal.SIGHUP)
            server.wait_for_output(r"Draining worker with pid: \d+ \(reload\)")
            # The old worker still drains, and has nothing to say here.
            poll(lambda: requests.get(url + "/-/readyz", timeout=10).status_code == 200)
            answers = [requests.get(url + "/-/readyz", timeout=10).status_code for _ in range(20)]
            assert answers == [200] * 20
        server.signal(signal.SIGQUIT)


def test_ops_address_while_the_server_shuts_down_says_that_it_drains(folder: Path) -> None:
    with serve(folder, "--ops-bind", "127.0.0.1:0", "--lame-duck", "60") as server:
        url = ops_url(server)
        server.signal(signal.SIGTERM)
        answer = poll(lambda: requests.get(url + "/-/readyz", timeout=10), lambda a: not a.ok)
        assert answer.json()["checks"]["server"] == "draining"
        assert ask(server, 1)
        server.signal(signal.SIGQUIT)
        assert server.wait() == 0


def test_ops_address_on_a_unix_socket_is_answered_and_goes_with_the_server() -> None:
    with tempfile.TemporaryDirectory() as short:  # the path of a socket has at most 107 bytes
        folder = Path(short)
        (folder / "workers.py").write_text(APP)
        path = folder / "ops.sock"
        with serve(folder, "--ops-bind", f"unix:{path}") as server:
            with connect(str(path)) as client:
                client.sendall(b"GET /-/metrics HTTP/1.1\r\nHost: ops\r\n\r\n")
                said = read_to_end(client)
            assert said.startswith(b"HTTP/1.1 200 ")
            assert b"flasknado_workers 1.0" in said
            server.stop()
        assert not path.exists()


def test_ops_address_that_is_taken_ends_the_start_with_a_sentence(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        command = (
            "-m",
            "flasknado.process.cli",
            "-b",
            "127.0.0.1:0",
            "--ops-bind",
            f"127.0.0.1:{port}",
        )
        with server_process((*command, "workers:app"), cwd=folder, ready=False) as server:
            assert server.wait() == 1
            server.wait_for_output(rf"--ops-bind: cannot listen on '127.0.0.1:{port}'")


def test_new_arbiter_takes_over_both_addresses(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with serve(folder, "--ops-bind", f"127.0.0.1:{port}") as server:
        old = ask(server, 1)
        server.signal(signal.SIGUSR2)
        server.wait_for_output(r"(?s)Serving as worker.*Serving as worker")
        new = int(server.wait_for_output(r"(?s)Starting gunicorn.*\[(\d+)\] \[INFO\] Starting")[1])
        try:
            server.signal(signal.SIGTERM)
            assert server.process.wait(30) == 0
            assert ask(server, 3).isdisjoint(old)
            assert requests.get(f"http://127.0.0.1:{port}/-/readyz", timeout=10).ok
        finally:
            os.kill(new, signal.SIGQUIT)
            poll(lambda: _is_gone(new))


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_FDS"] = "1"
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def test_socket_of_systemd_is_served_and_readiness_is_told(folder: Path) -> None:
    """As systemd does it: the socket is file descriptor 3, and READY=1 is waited for."""
    with (
        tempfile.TemporaryDirectory() as short,
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified,
    ):
        notified.bind(f"{short}/notify")
        notified.settimeout(30)
        port = listener.getsockname()[1]
        command = ("-m", "flasknado.process.cli", "workers:app")
        arguments = ("-c", LAUNCHER, str(listener.fileno()), *command)
        env = {"NOTIFY_SOCKET": f"{short}/notify"}
        with server_process(arguments, cwd=folder, env=env, pass_fds=[listener.fileno()]) as server:
            assert re.search(rf"Listening at: http://127.0.0.1:{port}", server.output)
            while b"READY=1" not in notified.recv(4096):  # what it waits for is said before
                pass
            assert requests.get(f"http://127.0.0.1:{port}/pid", timeout=10).ok
            assert server.stop() == 0
