"""Hashing is bounded: so many at once, so many that wait, and 503 for the rest."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask, current_app
from werkzeug.test import TestResponse

from tests.support.poll import poll
from tests.webapp.people import Browser, assert_api_error, make_app
from webapp import accounts, passwords
from webapp.extensions import bcrypt, db
from webapp.passwords import HashingPool, PoolFullError

DEADLINE_S = 30


class Gate:
    """A check of a password that waits until it is let go, and knows how many wait in it."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.inside = 0
        self.most = 0
        self._lock = threading.Lock()

    def check(self, _password_hash: str, _password: bytes) -> bool:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        assert self.open.wait(DEADLINE_S)
        with self._lock:
            self.inside -= 1
        return True


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(bcrypt, "check_password_hash", gate.check)
    yield gate
    gate.open.set()


@pytest.fixture
def app(database_file: Path) -> Iterator[Flask]:
    overrides = {"BCRYPT_LOG_ROUNDS": 4, "PASSWORD_THREADS": 2, "PASSWORD_QUEUE": 3}
    app = make_app(database_file, overrides=overrides)
    with app.app_context():
        accounts.register("ada", "ada-password")
    yield app
    with app.app_context():
        db.engine.dispose()


def test_pool_that_is_full_is_503_at_once_and_works_again_later(
    app: Flask, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[TestResponse] = []

    def log_in(number: int = 0) -> None:
        credentials = {"username": "ada", "password": "ada-password"}
        address = {"REMOTE_ADDR": f"192.0.2.{number}"}
        answer = app.test_client().post("/api/v1/tokens", json=credentials, environ_base=address)
        answers.append(answer)

    threads = [threading.Thread(target=log_in, args=[number]) for number in range(9)]
    for thread in threads:
        thread.start()
    poll(lambda: len(answers), until=lambda count: count == 9 - (2 + 3))
    poll(lambda: gate.inside, until=lambda count: count == 2)
    person = Browser(app)
    page = person.submit("/login", username="ada", password="ada-password")
    gate.open.set()
    for thread in threads:
        thread.join(DEADLINE_S)

    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) == 4
    for answer in refused:
        assert "Many people log in at this moment" in assert_api_error(answer, 503)
        assert answer.headers["Retry-After"] == "3"
    assert page.status_code == 503
    assert "Many people log in at this moment" in page.text
    assert [answer.status_code for answer in answers].count(200) == 5
    assert gate.most == 2
    assert "answered 503" not in caplog.text
    log_in()
    assert answers[-1].status_code == 200


def test_pool_that_is_full_counts_no_wrong_password(app: Flask, gate: Gate) -> None:
    pool: HashingPool = app.extensions[passwords.EXTENSION_KEY]
    threads = [
        threading.Thread(target=lambda n=n: pool.run(str(n), gate.check, "", b""), daemon=True)
        for n in range(5)
    ]
    for thread in threads:
        thread.start()
    poll(lambda: gate.inside, until=lambda count: count == 2)
    poll(lambda: pool.taken, until=lambda taken: taken == 5)
    client = app.test_client()
    for _ in range(20):
        answer = client.post("/api/v1/tokens", json={"username": "ada", "password": "wrong"})
        assert answer.status_code == 503
    gate.open.set()
    for thread in threads:
        thread.join(DEADLINE_S)

    right = {"username": "ada", "password": "ada-password"}
    assert client.post("/api/v1/tokens", json=right).status_code == 200


def test_pool_gives_what_is_raised_to_the_caller_and_its_place_back() -> None:
    pool = HashingPool(threads=1, queue=0)

    def fail() -> None:
        raise RuntimeError("the hash failed")

    for _ in range(3):
        with pytest.raises(RuntimeError, match="the hash failed"):
            pool.run("", fail)
    assert pool.run("", int, "7") == 7


def test_pool_runs_in_the_callers_context_on_a_thread_of_its_own(app: Flask) -> None:
    pool = HashingPool(threads=1, queue=0)
    with app.app_context():
        name, thread = pool.run("", lambda: (current_app.name, threading.current_thread().name))

    assert name == "webapp"
    assert thread.startswith("webapp-passwords")


def test_pool_without_a_queue_refuses_a_second_call() -> None:
    pool = HashingPool(threads=1, queue=0)

    def run_again() -> int:
        with pytest.raises(PoolFullError):
            pool.run("", int, "8")
        return 9

    assert pool.run("", run_again) == 9


def test_pool_keeps_places_for_others_than_who_asks_without_pause(gate: Gate) -> None:
    pool = HashingPool(threads=1, queue=3)
    threads = [
        threading.Thread(target=pool.run, args=[whose, gate.check, "", b""], daemon=True)
        for whose in ("mallory", "mallory", "ada", "grace")
    ]
    for number, thread in enumerate(threads[:3], 1):
        thread.start()
        poll(lambda: pool.taken, until=number.__eq__)

    with pytest.raises(PoolFullError):
        pool.run("mallory", int, "7")
    threads[3].start()
    poll(lambda: pool.taken, until=(4).__eq__)
    gate.open.set()
    for thread in threads:
        thread.join(DEADLINE_S)

    assert pool.taken == 0
    assert pool.run("mallory", int, "7") == 7


@pytest.mark.parametrize(
    ("processors", "view_threads", "threads", "queue"),
    [(1, 16, 1, 4), (2, 16, 1, 4), (8, 16, 4, 4), (64, 64, 16, 16), (64, 4, 1, 1), (8, 1, 1, 1)],
)
def test_pool_leaves_processors_and_view_threads_for_others(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    processors: int,
    view_threads: int,
    threads: int,
    queue: int,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: processors)
    app = Flask("bare")

    passwords.register(app, view_threads)

    assert app.config["PASSWORD_THREADS"] == threads
    assert app.config["PASSWORD_QUEUE"] == queue
