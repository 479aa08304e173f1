"""Processes that meet in the log: rooms over all of them, and emitting from where no client is.

Two servers in this process, with an application each, stand for two workers.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, has_app_context, request

from flasknado import HTTPServer, WSGIContainer
from flasknado.errors import ConfigurationError
from flasknado.live import Identity, Live
from flasknado.live.log.tables import Draft
from flasknado.socketio import (
    CallTimeout,
    SocketIO,
    SocketIOError,
    close_room,
    emit,
    join_room,
    rooms,
)
from tests.flasknado.live.helpers import wait_for
from tests.flasknado.socketio.socket_client import SocketClient
from tests.support.serving import Serving, serving


def make(url: str, **options: Any) -> tuple[Flask, SocketIO]:
    """Return an application of which several share a database."""
    app = Flask("processes")
    app.secret_key = "a secret of the tests"
    live = Live(app, database_url=url)
    socketio = SocketIO(app, **options)

    @live.identity
    def who() -> Identity:
        return Identity(request.headers.get("X-User"))

    socketio.on_event("join", lambda room: (join_room(room), rooms())[1])
    socketio.on_event("close", lambda room: close_room(room))
    socketio.on_event("say", lambda to, data: emit("said", data, to=to))
    socketio.on_event("shout", lambda data: emit("said", data, broadcast=True, include_self=False))
    socketio.on_event("ask", lambda sid: socketio.call("question", 1, to=sid, timeout=10))
    return app, socketio


def server(app: Flask) -> HTTPServer:
    return HTTPServer(WSGIContainer(app, multiprocess=True))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('log')}/log.db"


@pytest.fixture(scope="module")
def socketios(url: str) -> list[SocketIO]:
    return [make(url)[1] for _ in range(2)]


@pytest.fixture(scope="module")
def servings(socketios: list[SocketIO]) -> Iterator[list[Serving]]:
    with ExitStack() as stack:
        apps = [socketio.app for socketio in socketios]
        assert all(apps)
        yield [stack.enter_context(serving(lambda app=app: server(app))) for app in apps]


@pytest.fixture
def pair(servings: list[Serving]) -> Iterator[tuple[SocketClient, SocketClient]]:
    """Return a client of each server, each in the room of the test."""
    with SocketClient(servings[0]) as first, SocketClient(servings[1]) as second:
        yield first, second


@pytest.fixture
def outside(url: str) -> SocketIO:
    """Return what another program emits with."""
    return SocketIO(message_queue=url)


def test_event_reaches_a_room_in_all_processes_once_and_in_order(
    pair: tuple[SocketClient, SocketClient],
) -> None:
    first, second = pair
    for client in pair:
        assert client.ask("join", "room")[0] == [client.sid, "room"]
    for number in range(20):
        first.emit("say", "room", number)
    first.emit("say", "nobody's room", "lost")
    first.emit("say", "room", "last")
    expected = [["said", number] for number in range(20)] + [["said", "last"]]
    assert first.events(21) == expected
    assert second.events(21) == expected
    second.emit("shout", "all but me")
    assert first.events(22)[-1] == ["said", "all but me"]
    assert second.ask("join", "other")[0][1:] == ["room", "other"]
    assert len(second.events(21)) == len([p for p in second.packets if "said" in str(p)])


def test_event_reaches_a_client_of_another_process_by_its_sid(
    pair: tuple[SocketClient, SocketClient],
) -> None:
    first, second = pair
    first.emit("say", second.sid, {"private": True})
    assert second.events(1) == [["said", {"private": True}]]


def test_call_is_answered_by_a_client_of_another_process(
    pair: tuple[SocketClient, SocketClient],
) -> None:
    first, second = pair
    first.emit("ask", second.sid, ack_id=5)
    question = second.wait_for_packet('421["question"')
    assert question == '421["question",1]'
    second.send('431["answer"]')
    assert first.wait_for_packet("435") == '435["answer"]'


def test_program_without_a_server_emits_and_moves_clients(
    pair: tuple[SocketClient, SocketClient], outside: SocketIO
) -> None:
    first, second = pair
    outside.server.enter_room(second.sid, "from outside")
    outside.emit("said", {"bytes": b"\x00"}, to="from outside")
    assert second.wait_for_packet("451-") == '451-["said",{"bytes":{"_placeholder":true,"num":0}}]'
    outside.server.leave_room(second.sid, "from outside")
    outside.emit("said", "not for her", to="from outside")
    outside.emit("said", "for all")
    assert first.events(1) == second.events(1) == [["said", "for all"]]
    first.ask("join", "closed")
    outside.close_room("closed")
    outside.emit("said", "in vain", to="closed")
    outside.server.disconnect(first.sid)
    first.wait_for_packet("41")
    assert first.events(1) == [["said", "for all"]]


def test_call_that_nobody_answers_times_out(
    pair: tuple[SocketClient, SocketClient], socketios: list[SocketIO], outside: SocketIO
) -> None:
    with pytest.raises(CallTimeout, match="did not answer 'question'"):
        socketios[0].call("question", to="nobody", timeout=0.05)
    with pytest.raises(ValueError, match="sid"):
        socketios[0].call("question")
    with pytest.raises(SocketIOError, match="needs a server"):
        outside.call("question", to=pair[0].sid)


def test_callback_gets_the_answers_of_all_processes(
    pair: tuple[SocketClient, SocketClient], socketios: list[SocketIO]
) -> None:
    answers: list[Any] = []

    def callback(answer: str) -> None:
        answers.append((answer, has_app_context()))

    socketios[0].emit("question", callback=callback)
    for number, client in enumerate(pair):
        client.wait_for_packet('421["question"')
        client.send(f'431["answer {number}"]')
    wait_for(lambda: len(answers) == 2, "both answers")
    assert sorted(answers) == [("answer 0", True), ("answer 1", True)]


def test_nonsense_in_the_log_stops_nothing(
    pair: tuple[SocketClient, SocketClient], socketios: list[SocketIO], outside: SocketIO
) -> None:
    bus = outside.server.bus
    for data in ('{"origin":"x"}', "[]", '{"origin":"x","sid":1,"namespace":2}'):
        for name in ("emit", "disconnect", "ack"):
            bus.state.log.append([Draft(bus.channel_of("/", None), name, data, kept=False)])
    outside.emit("said", "goes on")
    for client in pair:
        assert client.events(1) == [["said", "goes on"]]


def test_room_with_a_name_that_is_no_text_is_not_told_to_others(outside: SocketIO) -> None:
    with pytest.raises(Exception, match="text or a whole number"):
        outside.server.enter_room("unknown", ("a", "tuple"))


def test_revoked_user_is_disconnected_in_all_processes(
    servings: list[Serving], socketios: list[SocketIO]
) -> None:
    with (
        SocketClient(servings[0], headers={"X-User": "ann"}) as ann,
        SocketClient(servings[1], headers={"X-User": "ann"}) as ann_again,
        SocketClient(servings[1], headers={"X-User": "bob"}) as bob,
    ):
        app = socketios[0].app
        assert app is not None
        with app.app_context():
            app.extensions["live"].hooks.revoke("ann")
        ann.wait_closed()
        ann_again.wait_closed()
        assert bob.ask("join", "still here")[0][1:] == ["still here"]


SCRIPT = """
import sys
from flask import Flask
from flasknado.socketio import SocketIO
socketio = SocketIO(message_queue=sys.argv[1])
socketio.emit("said", "of a command")
"""


def test_command_in_another_process_emits(
    pair: tuple[SocketClient, SocketClient], url: str
) -> None:
    subprocess.run([sys.executable, "-c", SCRIPT, url], check=True, timeout=60)
    for client in pair:
        assert client.events(1) == [["said", "of a command"]]


def test_several_processes_without_a_database_are_refused() -> None:
    app = Flask("memory")
    SocketIO(app)
    with pytest.raises(ConfigurationError, match="one process only"):
        server(app)


def test_drain_has_clients_reconnect(tmp_path: Path) -> None:
    app, _ = make(f"sqlite:///{tmp_path}/log.db")
    with serving(lambda: server(app)) as served:
        client = SocketClient(served)
    client.wait_closed()
    assert "41" not in client.packets  # which would tell it to stay away
    wait_for(lambda: client.websocket.close_code == 1000, "a closing handshake")
