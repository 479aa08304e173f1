"""An event goes to who was in the room when it was emitted, whatever changes right after."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from flasknado import HTTPServer, WSGIContainer
from flasknado.socketio import SocketIO, close_room, emit, join_room, leave_room
from flasknado.socketio.deliveries import POINTER_BYTES, Deliveries, Target
from flasknado.socketio.engineio.packet import Outgoing
from flasknado.socketio.message import event_message
from flasknado.socketio.packet import DefaultParser
from tests.flasknado.socketio.socket_client import SocketClient
from tests.support.serving import Serving, serving


def application() -> Flask:
    app = Flask("rooms")
    socketio = SocketIO(app)
    socketio.on_event("join", lambda room: join_room(room) or 1)

    @socketio.on("say and close")
    def say_and_close(room: str) -> None:
        emit("closing", to=room)
        close_room(room)
        emit("closed", to=room)
        emit("done", broadcast=True)

    @socketio.on("say and leave")
    def say_and_leave(room: str) -> None:
        emit("leaving", to=[room, "another"])
        leave_room(room)
        emit("left", to=room)
        emit("done", broadcast=True)

    @socketio.on("say and join")
    def say_and_join(room: str) -> None:
        emit("before", to=room)
        join_room(room)
        emit("after", to=room)
        emit("done", broadcast=True)

    return app


@pytest.fixture(scope="module")
def served() -> Iterator[Serving]:
    app = application()
    with serving(lambda: HTTPServer(WSGIContainer(app))) as running:
        yield running


@pytest.mark.parametrize(
    ("event", "of_itself", "of_another"),
    [
        ("say and close", ["closing", "done"], ["closing", "done"]),
        ("say and leave", ["leaving", "done"], ["leaving", "left", "done"]),
    ],
)
def test_event_before_a_change_of_its_room_goes_to_who_was_in_it(
    served: Serving, event: str, of_itself: list[str], of_another: list[str]
) -> None:
    with SocketClient(served) as client, SocketClient(served) as another:
        for each in (client, another):
            each.ask("join", event)
        client.emit(event, event)
        for each, expected in ((client, of_itself), (another, of_another)):
            each.wait_for_packet('42["done"')
            assert each.events(len(expected)) == [[name] for name in expected]


def test_event_before_joining_does_not_come(served: Serving) -> None:
    with SocketClient(served) as client, SocketClient(served) as another:
        another.ask("join", "joined")
        client.emit("say and join", "joined")
        for each, expected in ((client, ["after", "done"]), (another, ["before", "after", "done"])):
            each.wait_for_packet('42["done"')
            assert each.events(len(expected)) == [[name] for name in expected]


def test_what_has_been_settled_counts_until_it_is_written() -> None:
    calls: list[Callable[[], None]] = []
    written: list[str] = []
    room = [SimpleNamespace(name="one"), SimpleNamespace(name="two")]

    def write(clients: Iterable[Any], _: Outgoing) -> int:
        before = len(written)
        written.extend(client.name for client in clients)
        return len(written) - before

    deliveries = Deliveries(lambda _: iter(room), write, calls.append)  # type: ignore[arg-type]
    message = event_message(DefaultParser(), "/", "event", [])
    deliveries.add(Target("/", ("room", "another")), message)
    waiting_bytes = deliveries.waiting_bytes
    deliveries.settle("/", "a third")
    assert deliveries.waiting_bytes == waiting_bytes
    deliveries.settle("/", "room")
    room.pop()
    deliveries.settle("/", "another")
    assert deliveries.waiting_bytes == waiting_bytes + 2 * POINTER_BYTES
    deliveries.add(Target("/", ("room", "another")), message)
    while calls:
        calls.pop(0)()
    assert written == ["one", "two", "one"]
    assert deliveries.waiting_bytes == 0
    assert not deliveries._of_rooms
