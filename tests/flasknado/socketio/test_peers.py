"""Long-polling with several workers: whichever gets a request hands it on to the right one.

Two servers in this process, with an application each, stand for two workers.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from flask import Flask
from websockets.exceptions import InvalidStatus

from flasknado import HTTPServer, WSGIContainer
from flasknado.socketio import SocketIO, emit
from tests.flasknado.live.helpers import wait_for
from tests.flasknado.socketio.clients import PollingSession, Requests, parked, receive
from tests.support.serving import Serving, serving


def server(url: str) -> HTTPServer:
    app = Flask("peers")
    socketio = SocketIO(app, message_queue=url)
    socketio.on_event("echo", lambda *args: emit("back", args))
    return HTTPServer(WSGIContainer(app, multiprocess=True))


@pytest.fixture(scope="module")
def servings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Serving]]:
    url = f"sqlite:///{tmp_path_factory.mktemp('log')}/log.db"
    # A folder of its own, with a short path, because other tests run below the same process.
    with (
        tempfile.TemporaryDirectory(prefix="peers-") as short,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(tempfile, "tempdir", short)
        with ExitStack() as stack:
            yield [stack.enter_context(serving(lambda: server(url))) for _ in range(2)]
        assert not list(Path(short).iterdir())


def folder() -> Path:
    name = f"flasknado-socketio-{os.getuid()}-{os.getppid()}"
    return Path(tempfile.gettempdir()) / name


@pytest.fixture
def here(servings: list[Serving]) -> PollingSession:
    """Return a session at the worker that has it."""
    return Requests(servings[0]).open()


@pytest.fixture
def there(here: PollingSession, servings: list[Serving]) -> PollingSession:
    """Return the same session, at the other worker."""
    Requests(servings[1]).open()  # which has sessions of its own
    return PollingSession(Requests(servings[1]), here.sid, None)


def test_poll_and_post_reach_the_session_from_the_other_worker(
    here: PollingSession, there: PollingSession
) -> None:
    poll = parked(there)
    assert there.post("40").text == "ok"
    assert poll().text.startswith("40{")
    assert there.post('42["echo","€"]\x1e42["echo",2]').text == "ok"
    texts = there.poll().text.split("\x1e")
    if len(texts) == 1:
        texts += here.poll().text.split("\x1e")
    assert texts == ['42["back","\\u20ac"]', '42["back",2]']


def test_upgrade_reaches_the_session_from_the_other_worker(
    here: PollingSession, there: PollingSession
) -> None:
    poll = parked(here)
    with there.upgrade() as websocket:
        websocket.send("2probe")
        assert receive(websocket) == "3probe"
        assert poll().text == "6"
        websocket.send("5")
        websocket.send("40")
        assert str(receive(websocket)).startswith("40{")
        big = "x" * 300_000
        websocket.send(f'42["echo","{big}"]')
        assert receive(websocket) == f'42["back","{big}"]'
        assert here.poll().status == there.poll().status == 400
        with pytest.raises(InvalidStatus):
            there.upgrade().__enter__()
    wait_for(lambda: here.poll().json["code"] == 1, "the session has ended with its WebSocket")


def test_second_poll_at_the_other_worker_closes_the_session(
    here: PollingSession, there: PollingSession
) -> None:
    first = parked(here)
    assert there.poll().status == 400
    assert first().text == "1"
    assert there.poll().status == here.poll().status == 400


@pytest.mark.parametrize(
    "sid", ["0123456789ab.x", "../etc/passwd.x", "0123456789AB.x", ".x", "x" * 5000, "a\x00b.c"]
)
def test_session_of_nobody_is_not_known(servings: list[Serving], sid: str) -> None:
    answer = PollingSession(Requests(servings[0]), sid, None).poll()
    assert (answer.status, answer.json["code"]) == (400, 1)


def test_payload_that_is_no_text_ends_the_session_at_the_other_worker(
    here: PollingSession, there: PollingSession, caplog: pytest.LogCaptureFixture
) -> None:
    answer = there.post(b"4\xff")
    assert answer.status == 400
    assert answer.json["message"] == "the payload is not UTF-8"
    assert here.poll().status == 400
    assert "Traceback" not in caplog.text


def test_folder_is_for_this_user_only(here: PollingSession) -> None:
    found = folder().stat()
    assert found.st_mode & 0o777 == 0o700
    for path in folder().iterdir():
        assert path.is_socket()
        assert path.stat().st_mode & 0o777 == 0o600
