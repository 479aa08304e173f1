"""Connection state recovery: what a client gets that was away for a moment.

Two servers in this process, with an application each, stand for two workers.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from flask import Flask
from flask import request as current

from flasknado import HTTPServer, WSGIContainer
from flasknado.live import Identity, Live
from flasknado.live.log.tables import Draft
from flasknado.socketio import SocketIO, SocketIOError, disconnect, emit, join_room
from tests.flasknado.live.helpers import wait_for
from tests.flasknado.socketio.socket_client import SocketClient
from tests.support.postgres import postgres_server
from tests.support.serving import Serving, serving


def make(url: str) -> tuple[Flask, SocketIO]:
    app = Flask("recovery")
    app.secret_key = "a secret of the tests"
    live = Live(app, database_url=url)
    socketio = SocketIO(app, durable=["/", "/durable"], namespaces=["/plain", "/durable"])
    app.extensions["called"] = []

    @live.identity
    def who() -> Identity:
        return Identity(current.headers.get("X-User"))

    @socketio.on("connect")
    def connect() -> None:
        app.extensions["called"].append(("connect", current.sid, current.recovered))

    @socketio.on("disconnect")
    def on_disconnect(reason: str) -> None:
        app.extensions["called"].append(("disconnect", current.sid, reason))

    socketio.on_event("join", lambda room: join_room(room))
    socketio.on_event("leave me", lambda: disconnect())
    socketio.on_event("typing", lambda: emit("typing", broadcast=True, durable=False))
    return app, socketio


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def servings(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[tuple[Serving, SocketIO]]]:
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path_factory.mktemp('log')}/log.db"
        else:
            url = stack.enter_context(postgres_server()).url()
        made = []
        for _ in range(2):
            app, socketio = make(url)
            container = WSGIContainer(app, multiprocess=True)
            server = stack.enter_context(serving(lambda c=container: HTTPServer(c)))
            made.append((server, socketio))
        yield made


@pytest.fixture
def emitter(servings: list[tuple[Serving, SocketIO]]) -> SocketIO:
    return servings[0][1]


@pytest.fixture
def connect(servings: list[tuple[Serving, SocketIO]]) -> Iterator[Callable[..., SocketClient]]:
    """Return a function that connects to a server, by its number."""
    with ExitStack() as stack:

        def connect(number: int = 0, **options: Any) -> SocketClient:
            return stack.enter_context(SocketClient(servings[number][0], **options))

        yield connect


def cut(client: SocketClient) -> None:
    """Have the connection of a client end without a word."""
    sock = client.websocket.socket
    sock.shutdown(socket.SHUT_RDWR)
    wait_for(lambda: client.closed, "the client has gone")


def back(client: SocketClient, offset: str | None = None) -> dict[str, str]:
    """Return what a client connects with that comes back."""
    said = {"pid": client.pids["/"]}
    return said if offset is None else {**said, "offset": offset}


def test_client_gets_what_it_missed_in_order_and_once(
    connect: Callable[..., SocketClient], emitter: SocketIO
) -> None:
    client, other = connect(), connect(1)
    for room in ("a", "b"):
        client.ask("join", room)
    emitter.emit("seen", 1, to="a")
    (seen,) = client.events(1)
    assert seen[:2] == ["seen", 1]
    cut(client)
    emitter.emit("missed", 2, to="a")
    emitter.emit("missed", 3)
    emitter.emit("missed", [b"4"], to=["a", "b"])
    emitter.emit("missed", 5, to=client.sid)
    emitter.emit("not for it", to="another room")
    emitter.emit("not for it", to="a", skip_sid=client.sid)
    emitter.emit("signal", to="a", durable=False)
    emitter.emit("last", to=other.sid)
    last = other.events(2)[-1]  # so everything is in the log
    assert last[0] == "last"

    again = connect(1, auth=back(client, seen[2]))
    assert (again.sid, again.pids["/"]) == (client.sid, client.pids["/"])
    emitter.emit("live", 6, to="b")
    assert [event[:-1] for event in again.events(4)] == [
        ["missed", 2],
        ["missed", 3],
        ["missed", 5],
        ["live", 6],
    ]
    first = again.wait_for_packet('451-["missed"')
    assert b"4" in again.packets
    offsets = [int(json.loads(text[text.index("[") :])[-1].rpartition(":")[2]) for text in (first,)]
    offsets += [int(event[-1].rpartition(":")[2]) for event in again.events(3)]
    assert len(set(offsets)) == 4


def test_client_that_was_sent_nothing_before_the_cut_is_recovered(
    connect: Callable[..., SocketClient], emitter: SocketIO
) -> None:
    client, other = connect(), connect()
    cut(client)
    emitter.emit("missed", 1)
    other.events(1)
    again = connect(1, auth=back(client))
    assert again.sid == client.sid
    assert again.events(1)[0][:2] == ["missed", 1]
    stale = connect(1, auth=back(again, again.events(1)[0][2]))
    assert stale.sid == client.sid
    again.wait_closed()  # which the server had not noticed to be gone


def test_signal_carries_the_offset_too_and_moves_it_on(
    connect: Callable[..., SocketClient], emitter: SocketIO
) -> None:
    client = connect()
    emitter.emit("kept", 1)
    client.events(1)
    client.emit("typing")
    (kept, typing) = client.events(2)
    assert typing[0] == "typing"
    assert int(typing[1].rpartition(":")[2]) >= int(kept[2].rpartition(":")[2])
    cut(client)
    again = connect(auth=back(client, typing[1]))
    emitter.emit("kept", 2)
    assert again.events(1)[0][:2] == ["kept", 2]


def test_offset_of_a_signal_is_behind_the_kept_event_before_it(
    connect: Callable[..., SocketClient], emitter: SocketIO
) -> None:
    client = connect(1)
    client.ask("join", "behind")
    bus = emitter.server.bus
    channel = bus.channel_of("/", "behind")
    fields = {"namespace": "/", "keys": ["behind"], "skip": [], "origin": bus.origin}
    kept = json.dumps({**fields, "number": 0, "pieces": ['2["behind kept"]']})
    signal = json.dumps({**fields, "pieces": ['2["behind signal"]']})
    bus.state.log.append(
        [
            Draft(channel, "emit", kept, kept=True, buffered=True),
            Draft(channel, "emit", signal, kept=False),
        ]
    )
    client.wait_for_packet('42["behind signal"')
    first, second = (json.loads(p[2:]) for p in client.packets if '["behind' in str(p))
    assert (first[0], second[0]) == ("behind kept", "behind signal")
    assert int(second[1].rpartition(":")[2]) >= int(first[1].rpartition(":")[2])


def test_handlers_hear_of_the_return(
    connect: Callable[..., SocketClient], servings: list[tuple[Serving, SocketIO]]
) -> None:
    app = servings[0][1].app
    assert app is not None
    called = app.extensions["called"]
    client = connect()
    connect(auth=back(client))
    client.wait_closed()
    mine = [call for call in called if call[1] == client.sid]
    assert mine == [
        ("connect", client.sid, False),
        ("disconnect", client.sid, "transport close"),
        ("connect", client.sid, True),
    ]


@pytest.mark.parametrize("packet", ["41", '42["leave me"]'])
def test_client_that_left_begins_anew(connect: Callable[..., SocketClient], packet: str) -> None:
    client = connect()
    client.send(packet)
    if packet != "41":
        client.wait_for_packet("41")
    assert client.connect("/durable")["sid"]  # so that the packet has been dealt with
    client.close()
    again = connect(auth=back(client))
    assert again.sid != client.sid
    assert again.pids["/"] != client.pids["/"]


def test_client_of_another_user_begins_anew(
    connect: Callable[..., SocketClient], emitter: SocketIO
) -> None:
    client = connect(headers={"X-User": "ann"})
    client.ask("join", "ann's room")
    cut(client)
    emitter.emit("secret", to="ann's room")
    bob = {"X-User": "bob"}
    refused = connect(headers=bob, at_once=False)
    refused.send(f"40{json.dumps(back(client))}")
    refused.wait_closed()
    assert len(refused.packets) == 1

    def begins_anew() -> SocketClient | None:
        again = connect(headers=bob, at_once=False)
        again.send(f"40{json.dumps(back(client))}")
        wait_for(lambda: len(again.packets) > 1 or again.closed, "an answer")
        return None if again.closed else again

    again = wait_for(begins_anew, "what was kept is forgotten")
    assert client.sid not in again.packets[1]
    assert not [packet for packet in again.packets if "secret" in str(packet)]


@pytest.mark.parametrize(
    "auth",
    [
        {"pid": "unknown"},
        {"pid": "unknown.0:0", "offset": "0:0"},
        {"pid": "x" * 1000},
        {"pid": 5},
        {"pid": "", "offset": {}},
    ],
)
def test_pid_that_is_none_begins_anew(
    connect: Callable[..., SocketClient], auth: dict[str, Any]
) -> None:
    client = connect(auth=auth)
    assert client.ask("join", "room") == []


def test_namespace_that_is_not_durable_has_no_pid_and_no_offsets(
    connect: Callable[..., SocketClient], emitter: SocketIO
) -> None:
    client = connect()
    assert client.connect("/plain").keys() == {"sid"}
    emitter.emit("plain", 1, namespace="/plain")
    assert client.events(1, "/plain") == [["plain", 1]]
    with pytest.raises(SocketIOError, match="SocketIO\\(durable="):
        emitter.emit("plain", namespace="/plain", durable=True)
