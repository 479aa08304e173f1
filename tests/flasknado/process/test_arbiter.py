"""The processes, changed and killed under a real server."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from flasknado.process.arbiter import Arbiter
from flasknado.process.signal_queue import BaseArbiter
from tests.support.poll import poll
from tests.support.process import ServerProcess, server_process

APP = """
import asyncio, os, time, flask, tornado.web
app = flask.Flask("processes")

@app.get("/")
def index():
    return f"VERSION {os.getpid()}"

@app.get("/slow")
def slow():
    time.sleep(1.5)
    return "finished"

class Freeze(tornado.web.RequestHandler):
    def get(self):
        time.sleep(600)

class Leave(tornado.web.RequestHandler):
    def get(self):
        asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)
        self.cleaning = asyncio.create_task(self.clean())

    async def clean(self):
        try:
            await asyncio.sleep(600)
        finally:
            print("cleaned", flush=True)

routes = [(r"/freeze", Freeze), (r"/leave", Leave)]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_app(tmp_path, "one")
    return tmp_path


def write_app(folder: Path, version: str, extra: str = "") -> None:
    (folder / "processes.py").write_text(extra + APP.replace("VERSION", version))


def configure(folder: Path, settings: str) -> None:
    (folder / "settings.py").write_text(settings + "\n")


def serve(folder: Path, *options: str, ready: bool = True) -> AbstractContextManager[ServerProcess]:
    command = ("-m", "flasknado.process.cli", "-b", "127.0.0.1:0", "--handlers", "processes:routes")
    return server_process((*command, *options, "processes:app"), cwd=folder, ready=ready)


def ask(server: ServerProcess, path: str = "/") -> str:
    return requests.get(server.url + path, timeout=30).text


def ask_again(server: ServerProcess) -> str:
    """As `ask`, but an empty string while nobody serves."""
    try:
        return ask(server)
    except requests.ConnectionError:
        return ""


def pid_of_answer(server: ServerProcess) -> int:
    return int(ask(server).split()[1])


class Load(threading.Thread):
    """Requests on one kept connection after another until stopped; failures are kept."""

    def __init__(self, server: ServerProcess) -> None:
        super().__init__(name="load", daemon=True)
        self.server = server
        self.stopped = threading.Event()
        self.answers: list[str] = []
        self.failures: list[str] = []

    def run(self) -> None:
        session = requests.Session()
        while not self.stopped.is_set():
            try:
                answer = session.get(self.server.url + "/", timeout=30)
                self.answers.append(answer.text)
                if answer.status_code != 200:
                    self.failures.append(f"{answer.status_code}: {answer.text}")
            except requests.ConnectionError as error:
                # A kept connection may be closed just as it is used (RFC 9112, section 9.3.1).
                if "RemoteDisconnected" not in str(error) and "reset" not in str(error):
                    self.failures.append(repr(error))

    def __enter__(self) -> Load:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stopped.set()
        self.join(30)


def test_hangup_onto_new_code_changes_workers_without_a_failed_request(folder: Path) -> None:
    with serve(folder, "-w", "2") as server, Load(server) as load:
        poll(lambda: load.answers)
        write_app(folder, "two")
        server.signal(signal.SIGHUP)
        server.wait_for_output("Reloaded: generation 2 serves")
        poll(lambda: load.answers[-1].startswith("two "))
        poll(lambda: server.output.count("Worker exiting") == 2)
    assert load.failures == []


def test_hangup_onto_a_broken_app_keeps_the_old_workers_and_says_why(folder: Path) -> None:
    with serve(folder, "-w", "2") as server, Load(server) as load:
        before = pid_of_answer(server)
        write_app(folder, "two", "import a_module_that_is_not_there\n")
        server.signal(signal.SIGHUP)
        server.wait_for_output("the reload failed, the old workers keep serving")
        server.wait_for_output("No module named 'a_module_that_is_not_there'")
        poll(lambda: pid_of_answer(server), lambda pid: pid == before)
        write_app(folder, "three")
        server.signal(signal.SIGHUP)
        poll(lambda: load.answers[-1].startswith("three "))
    assert load.failures == []
    assert not any(answer.startswith("two ") for answer in load.answers)


def test_worker_with_enough_requests_is_replaced_before_it_goes(folder: Path) -> None:
    with serve(folder, "-w", "1", "--max-requests", "20") as server, Load(server) as load:
        first = pid_of_answer(server)
        server.wait_for_output(r"(?s)asked to be replaced.*?Serving as worker.*?\(recycle\)")
        poll(lambda: pid_of_answer(server), lambda pid: pid != first)
    assert load.failures == []


def test_term_sent_again_does_not_shorten_the_drain(folder: Path) -> None:
    with serve(folder) as server:
        answers: list[str] = []
        client = threading.Thread(target=lambda: answers.append(ask(server, "/slow")))
        client.start()
        poll(lambda: "flasknado_pool_threads_busy" in ask(server, "/-/metrics") and busy(server))
        for _ in range(3):
            server.signal(signal.SIGTERM)
        assert server.wait() == 0
        client.join(30)
        assert answers == ["finished"]


def test_quit_while_draining_stops_at_once(folder: Path) -> None:
    with serve(folder) as server:
        client = threading.Thread(target=swallow, args=(server, "/slow"))
        client.start()
        poll(lambda: busy(server))
        server.signal(signal.SIGTERM)
        server.wait_for_output("Draining worker")
        server.signal(signal.SIGQUIT)
        assert server.wait() == 0
        server.wait_for_output("at once")
        client.join(30)


def test_quit_that_comes_with_a_term_is_handled_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    received = [signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT]
    monkeypatch.setattr(BaseArbiter, "wait_for_signals", lambda _self, timeout: received)
    arbiter = Arbiter.__new__(Arbiter)
    arbiter._members = {}
    arbiter._service = SimpleNamespace(interval_s=None)  # type: ignore[assignment]

    assert arbiter.wait_for_signals() == [signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM]


def test_worker_killed_is_replaced(folder: Path) -> None:
    with serve(folder) as server:
        first = pid_of_answer(server)
        os.kill(first, signal.SIGKILL)
        server.wait_for_output(r"died: SIGKILL")
        assert poll(lambda: pid_of_answer(server)) != first


def test_worker_with_a_frozen_loop_is_killed_with_its_stacks_logged(folder: Path) -> None:
    with serve(folder, "--timeout", "2") as server:
        client = threading.Thread(target=swallow, args=(server, "/freeze"))
        client.start()
        server.wait_for_output("WORKER TIMEOUT")
        server.wait_for_output(r'processes.py", line \d+ in get')
        assert poll(lambda: ask(server)).startswith("one ")
        client.join(30)


def test_workers_added_and_removed_by_signals_are_told_once(folder: Path) -> None:
    with serve(folder) as server:
        server.signal(signal.SIGTTIN)
        poll(lambda: server.output.count("Serving as worker") == 2)
        server.signal(signal.SIGTTOU)
        poll(lambda: server.output.count("Worker exiting") == 1)
        assert server.output.count("(surplus)") == 1
        assert ask(server).startswith("one ")


def test_start_with_workers_that_die_at_boot_ends_with_the_reason(folder: Path) -> None:
    write_app(folder, "one", "import os; os._exit(7)\n")
    command = ("-m", "flasknado.process.cli", "-b", "127.0.0.1:0", "processes:app")
    with server_process(command, cwd=folder, ready=False) as server:
        assert server.wait() == 7
        server.wait_for_output("A worker could not boot: ended with exit code 7")


def test_replacement_that_cannot_boot_is_tried_again_less_and_less_often(folder: Path) -> None:
    with serve(folder, "-w", "2") as server:
        server.wait_for_output(r"(?s)Serving as worker.*Serving as worker")
        first = pid_of_answer(server)
        write_app(folder, "broken", "import a_module_that_is_not_there\n")
        os.kill(first, signal.SIGKILL)
        server.wait_for_output(r"retrying in 1\.0 s")
        server.wait_for_output(r"retrying in 2\.0 s")
        assert ask(server).startswith("one ")
        write_app(folder, "mended")
        poll(lambda: ask(server).startswith("mended "))


def busy(server: ServerProcess) -> bool:
    return any(
        line.startswith("flasknado_pool_threads_busy{") and not line.endswith(" 0.0")
        for line in ask(server, "/-/metrics").splitlines()
    )


def swallow(server: ServerProcess, path: str) -> None:
    """Ask for what will not be answered: the connection is cut."""
    try:
        ask(server, path)
    except requests.RequestException:
        return


def test_older_worker_stays_while_a_younger_one_is_replaced(folder: Path) -> None:
    configure(
        folder, "def post_fork(server, worker): worker.max_requests = {2: 1}.get(worker.age, 10**9)"
    )
    with serve(folder, "-w", "2", "-c", "settings.py") as server:
        poll(lambda: ask(server), lambda _: "(recycle)" in server.output)
        server.wait_for_output("Worker exiting")
    assert "(surplus)" not in server.output


def test_worker_that_dies_takes_no_other_with_it(folder: Path) -> None:
    with serve(folder, "-w", "4") as server:
        poll(lambda: server.output.count("Serving as worker") == 4)
        os.kill(pid_of_answer(server), signal.SIGKILL)
        poll(lambda: server.output.count("Serving as worker") == 5)
    assert "(surplus)" not in server.output


def test_worker_told_to_stop_before_it_hears_signals_stops(folder: Path) -> None:
    configure(
        folder,
        "import os, time\n"
        "def post_fork(server, worker):\n"
        "    while not os.path.exists('go'): time.sleep(0.01)",
    )
    with serve(folder, "-c", "settings.py", ready=False) as server:
        server.wait_for_output("Booting worker")
        server.signal(signal.SIGTERM)
        server.wait_for_output("Handling signal: term")
        (folder / "go").touch()
        assert server.wait(10) == 0


def test_worker_ends_in_time_whatever_handlers_have_left_behind(folder: Path) -> None:
    with serve(folder, "--graceful-timeout", "1") as server:
        ask(server, "/leave")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert "cleaned" in server.output
    assert "SIGKILL" not in server.output


def test_lame_duck_does_not_shorten_the_drain(folder: Path) -> None:
    with serve(folder, "--lame-duck", "6", "--graceful-timeout", "1") as server:
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert "SIGKILL" not in server.output


@pytest.mark.parametrize(
    "settings",
    [
        "def on_reload(server): raise RuntimeError('the hook fails')",
        "def pre_fork(server, worker):\n    if worker.age > 1: raise OSError('the fork fails')",
    ],
)
def test_hangup_with_a_failing_step_keeps_the_old_workers(folder: Path, settings: str) -> None:
    configure(folder, settings)
    with serve(folder, "-w", "1", "-c", "settings.py") as server:
        before = pid_of_answer(server)
        server.signal(signal.SIGHUP)
        server.wait_for_output("the reload failed, the old workers keep serving: .* fails")
        server.signal(signal.SIGUSR1)
        server.wait_for_output("Handling signal: usr1")
        assert pid_of_answer(server) == before


def test_hangup_onto_a_pid_file_that_cannot_be_written_keeps_the_old_one(folder: Path) -> None:
    configure(folder, "pidfile = 'one.pid'")
    with serve(folder, "-c", "settings.py") as server:
        configure(folder, "pidfile = 'no/such/folder/two.pid'")
        server.signal(signal.SIGHUP)
        server.wait_for_output("the reload failed, the old workers keep serving")
        assert (folder / "one.pid").read_text().strip() == str(server.pid)
        configure(folder, "pidfile = 'two.pid'")
        server.signal(signal.SIGHUP)
        server.wait_for_output("Reloaded")
        assert (folder / "two.pid").read_text().strip() == str(server.pid)
        assert not (folder / "one.pid").exists()


def test_hangup_that_is_given_up_keeps_the_number_of_workers(folder: Path) -> None:
    configure(folder, "workers = 1")
    with serve(folder, "-c", "settings.py") as server:
        server.signal(signal.SIGTTIN)
        poll(lambda: server.output.count("Serving as worker") == 2)
        configure(folder, "workers = 'many'")
        server.signal(signal.SIGHUP)
        server.wait_for_output("the reload failed")
        server.signal(signal.SIGTTIN)
        poll(lambda: server.output.count("Serving as worker") == 3)
    assert "(surplus)" not in server.output


def test_interrupt_while_workers_boot_is_no_failure(folder: Path) -> None:
    write_app(folder, "slow", "import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    with serve(folder, "-w", "3", ready=False) as server:
        poll(lambda: server.output.count("importing") == 3)
        server.signal(signal.SIGINT)
        assert server.wait() == 0
    assert "could not boot" not in server.output


def test_changed_code_restarts_the_worker_with_the_reloader(folder: Path) -> None:
    with serve(folder, "-w", "1", "--reload") as server:
        assert ask(server).startswith("one ")
        write_app(folder, "second")
        poll(lambda: ask_again(server).startswith("second "))


def write_waiting_app(folder: Path) -> Path:
    """Write an application that is imported once the returned file exists."""
    gate = folder / "gate"
    waits = f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists():\n"
    write_app(folder, "two", f"{waits}    time.sleep(0.02)\n")
    return gate


def test_hangups_in_a_row_start_no_more_processes_than_two_reloads_need(folder: Path) -> None:
    with serve(folder, "-w", "1") as server:
        gate = write_waiting_app(folder)
        for number in range(1, 7):
            server.signal(signal.SIGHUP)
            poll(lambda number=number: server.output.count("Handling signal: hup") >= number)
        server.wait_for_output("The reload waits for workers of earlier ones to end")
        assert server.output.count("Booting worker") <= 4  # the first, and those of three reloads
        write_app(folder, "three")
        gate.touch()
        server.wait_for_output("Reloaded: generation")
        poll(lambda: ask_again(server).startswith("three "))


def test_changes_of_the_number_of_workers_in_a_row_start_no_more_than_may_stop(
    folder: Path,
) -> None:
    with serve(folder, "-w", "1") as server:
        first = pid_of_answer(server)
        gate = write_waiting_app(folder)
        for number in range(1, 9):
            for name, sig in (("ttin", signal.SIGTTIN), ("ttou", signal.SIGTTOU)):
                server.signal(sig)
                told = f"Handling signal: {name}"
                poll(lambda n=number, told=told: server.output.count(told) >= n)
        started = server.output.count("Booting worker")
        assert started <= 4  # two, unless all of this takes so long that a boot is ended
        assert pid_of_answer(server) == first
        server.signal(signal.SIGTTIN)
        gate.touch()
        poll(lambda: server.output.count("Booting worker") > started)
