"""What a client can make the server hold or do is bounded, and others do not feel it."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from flask import Flask, session
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode

from flasknado import HTTPServer, WSGIContainer
from flasknado.socketio import SocketIO, SocketIOError, emit, join_room
from flasknado.socketio.client import MAX_CALLBACKS, MAX_ROOMS
from flasknado.socketio.emitter import BACKLOG_BYTES
from flasknado.socketio.engineio.websocket import WebSocketTransport
from flasknado.socketio.errors import BacklogFull
from flasknado.socketio.packet import MAX_ATTACHMENTS
from flasknado.socketio.server import MAX_JOBS, MAX_JOBS_BYTES, MAX_NAMESPACES, PENDING_LIMIT
from tests.flasknado.live.helpers import wait_for
from tests.flasknado.socketio.clients import PollingSession, Requests, at_once, parked, read_to_end
from tests.flasknado.socketio.socket_client import SocketClient
from tests.flasknado.websocket.frames import client_frame
from tests.support.serving import Serving, serving

MAX_PAYLOAD_BYTES = 200_000


class Site:
    """A server, its `SocketIO`, and handlers that can be held."""

    def __init__(self, stack: ExitStack, **config: Any) -> None:
        app = Flask("limits")
        app.secret_key = "a secret of the tests"
        app.config.update(config)
        self.go_on = threading.Event()
        self.go_on.set()
        self.handled: list[Any] = []
        self.socketio = SocketIO(
            app, namespaces="*", max_http_buffer_size=MAX_PAYLOAD_BYTES, handler_threads=2
        )
        self.socketio.on_event("wait", self._wait)
        self.socketio.on_event("connect", lambda: self._wait("connected"), namespace="/gated")
        self.socketio.on_event("echo", lambda *args: emit("back", args))
        self.socketio.on_event("ack", lambda *args: args)
        self.socketio.on_event("join", lambda room: join_room(room))
        self.socketio.on_event("who", lambda: session.get("user"))
        self.socketio.on_event("fail", lambda: 1 / 0)
        self.socketio.on_event("exit", lambda: sys.exit("out"))
        self.serving = stack.enter_context(serving(lambda: HTTPServer(WSGIContainer(app))))
        stack.callback(self.go_on.set)

    def _wait(self, number: Any) -> None:
        self.go_on.wait(30)
        self.handled.append(number)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(stack)


@pytest.fixture
def make_site() -> Iterator[Callable[..., Site]]:
    with ExitStack() as stack:
        yield lambda **config: Site(stack, **config)


@pytest.fixture
def client(site: Site) -> Iterator[SocketClient]:
    with SocketClient(site.serving) as client:
        yield client


@pytest.fixture
def polling(site: Site) -> PollingSession:
    session = Requests(site.serving).open()
    assert session.post("40").status == 200
    assert session.poll().text.startswith("40{")
    return session


def test_payload_that_is_too_large_is_refused(site: Site, polling: PollingSession) -> None:
    assert polling.post("4" + "x" * MAX_PAYLOAD_BYTES).status == 413
    with SocketClient(site.serving) as client:
        client.send("42" + json.dumps(["echo", "x" * MAX_PAYLOAD_BYTES]))
        client.wait_closed()
        assert client.websocket.close_code == 1009


@pytest.mark.parametrize("count", [MAX_ATTACHMENTS + 1, 999, "9999999999"])
def test_packet_of_too_many_attachments_ends_the_session(
    client: SocketClient, count: int | str
) -> None:
    client.send(f'45{count}-["echo"]')
    client.wait_closed()


def test_attachments_that_never_end_are_bounded_by_their_bytes(client: SocketClient) -> None:
    client.send(f'45{MAX_ATTACHMENTS}-["echo",{{"_placeholder":true,"num":0}}]')
    with contextlib.suppress(ConnectionClosed):  # after the second, sooner or later
        for _ in range(3):
            client.send(bytes(MAX_PAYLOAD_BYTES // 2 + 1))
    client.wait_closed()


@pytest.mark.parametrize(
    "data",
    [
        [{"_placeholder": True, "num": 0}] * 2,  # which would multiply it
        [{"_placeholder": True, "num": 1}],
        [{"_placeholder": True, "num": -1}],
        [{"_placeholder": True, "num": "0"}],
        [{"_placeholder": True}],
    ],
)
def test_placeholder_that_names_no_attachment_ends_the_session(
    client: SocketClient, data: list[Any]
) -> None:
    client.send("451-" + json.dumps(["echo", *data]))
    client.send(b"\x00")
    client.wait_closed()


def test_data_with_attachments_that_is_too_deep_ends_the_session(client: SocketClient) -> None:
    client.send('451-["echo",' + "[" * 100 + "]" * 100 + "]")
    client.send(b"\x00")
    client.wait_closed()


def test_events_of_a_client_wait_for_one_another_and_it_is_not_read_meanwhile(
    site: Site, client: SocketClient, polling: PollingSession
) -> None:
    site.handled.clear()
    site.go_on.clear()
    sent = 3 * MAX_JOBS
    posting = threading.Thread(
        target=lambda: polling.post("\x1e".join(f'42["wait",{n}]' for n in range(sent)))
    )
    posting.start()
    for number in range(sent):
        client.emit("wait", number)
    (server,) = site.socketio.server.servers

    def waiting() -> list[int]:
        jobs = [c.connection.jobs for c in list(server.clients.values())]
        return sorted(len(j) for j in jobs if j)

    wait_for(lambda: len(waiting()) == 2 and waiting()[0] >= MAX_JOBS - 1, "both are held")
    assert waiting()[-1] <= MAX_JOBS
    assert posting.is_alive()  # it is not answered before all is taken
    site.go_on.set()
    wait_for(lambda: len(site.handled) == 2 * sent, "all is handled")
    posting.join(15)
    first_seen: dict[int, int] = {}
    for number in site.handled:
        first_seen[number] = first_seen.get(number, 0) + 1
    assert set(first_seen.values()) == {2}


def test_large_events_of_a_client_wait_unread_and_it_is_not_taken_for_silent(
    site: Site, client: SocketClient
) -> None:
    site.handled.clear()
    site.go_on.clear()
    large = "x" * (MAX_PAYLOAD_BYTES // 2)
    for number in range(4):
        client.emit("wait", f"{number}{large}")
    held = site.socketio.server.client(client.sid)
    assert held is not None
    session = held.connection.link
    wait_for(lambda: session.paused, "it is not read")
    assert held.connection.jobs_bytes < MAX_JOBS_BYTES + MAX_PAYLOAD_BYTES
    (engine,) = _engines(site.serving)
    assert engine.held_bytes() > len(large)

    def long_after() -> None:
        now = engine.loop.time()
        for _ in range(3):
            session.due_at = now
            engine._look_at(session, now)
            assert not engine.overdue(session)

    site.serving.on_loop(long_after)
    site.go_on.set()
    wait_for(lambda: len(site.handled) == 4, "all is handled")
    assert [said[0] for said in site.handled] == ["0", "1", "2", "3"]
    wait_for(lambda: held.connection.jobs_bytes == 0, "nothing waits")
    assert client.ask("ack", "still here") == ["still here"]


def test_payload_of_small_packets_takes_no_more_than_it_is_large(
    site: Site, polling: PollingSession
) -> None:
    site.go_on.clear()
    (engine,) = _engines(site.serving)
    session = engine.sessions[polling.sid]
    payload = "\x1e".join(['42["wait",0]'] * MAX_JOBS + ["6"] * 20_000)
    answer = at_once(lambda: polling.post(payload))
    wait_for(lambda: session.paused, "it is not read")
    assert session._unread is not None
    assert len(session._unread) == len(payload)
    site.go_on.set()
    assert answer().text == "ok"
    assert session._unread is None


def test_clients_with_much_that_waits_are_given_up_when_memory_is_short(
    site: Site, client: SocketClient
) -> None:
    (engine,) = _engines(site.serving)
    with SocketClient(site.serving) as large, SocketClient(site.serving) as later:
        large.send('452-["ack",{"_placeholder":true,"num":0}]')
        large.send(bytes(MAX_PAYLOAD_BYTES // 2))
        wait_for(lambda: engine.held_bytes() > MAX_PAYLOAD_BYTES // 4, "it has come")
        try:
            site.serving.on_loop(lambda: engine.memory_changed(True))
            large.wait_closed()
            later.send('452-["ack",{"_placeholder":true,"num":0}]')
            later.send(bytes(MAX_PAYLOAD_BYTES // 2))
            later.wait_closed()
            assert client.ask("ack", "small") == ["small"]
        finally:
            site.serving.on_loop(lambda: engine.memory_changed(False))
    wait_for(lambda: engine.held_bytes() == 0, "nothing is held")


def test_polling_client_that_is_not_there_makes_room_for_another(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(LIVE_MAX_SUBSCRIBERS=3)
    requests = Requests(site.serving)
    there, gone = requests.open(), requests.open()
    answer = parked(there)
    with SocketClient(site.serving):
        assert requests.open().post("40").status == 200
        assert gone.poll().status == 400
        assert there.post("40").status == 200
        assert answer().text.startswith("40{")


def test_threads_are_shared_and_others_have_their_turn(site: Site) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(SocketClient(site.serving)) for _ in range(4)]
        for client in clients[:3]:
            for number in range(200):
                client.emit("ack", number, ack_id=number)
        assert clients[3].ask("ack", "mine") == ["mine"]
        for client in clients[:3]:
            client.wait_for_packet("43199[")


def test_namespaces_of_a_connection_are_bounded(client: SocketClient) -> None:
    for number in range(MAX_NAMESPACES - 1):
        client.connect(f"/{number}")
    client.send("40/more,")
    answer = client.wait_for_packet("44/more,")
    assert f"at most {MAX_NAMESPACES} namespaces" in answer
    client.send("40/" + "n" * 200)
    client.wait_closed()


def test_rooms_of_a_client_are_bounded(site: Site, client: SocketClient) -> None:
    emitter = site.socketio.server
    for number in range(MAX_ROOMS):
        emitter.enter_room(client.sid, number)
    with pytest.raises(SocketIOError, match=f"at most {MAX_ROOMS} rooms"):
        emitter.enter_room(client.sid, "one more")
    emitter.leave_room(client.sid, 0)
    emitter.enter_room(client.sid, "one more")
    assert len(emitter.rooms(client.sid)) == MAX_ROOMS + 1


def test_acknowledgements_that_never_come_are_bounded(site: Site, client: SocketClient) -> None:
    called: list[Any] = []
    for number in range(MAX_CALLBACKS + 5):
        site.socketio.emit("ask", number, to=client.sid, callback=called.append)
    client.wait_for_packet(f"42{MAX_CALLBACKS + 5}[")
    held = site.socketio.server.client(client.sid)
    assert held is not None
    assert held.callbacks is not None
    assert len(held.callbacks) == MAX_CALLBACKS
    client.send('431["too late"]')
    client.send('43999999["never asked"]')
    client.send(f'43{MAX_CALLBACKS + 5}["in time"]')
    wait_for(lambda: called, "the answer in time")
    assert called == ["in time"]
    client.send(f'43{MAX_CALLBACKS + 5}["again"]')
    assert client.ask("ack") == []
    assert called == ["in time"]


def test_slow_reader_is_evicted_and_others_are_not(make_site: Callable[..., Site]) -> None:
    site = make_site(LIVE_BACKLOG_LIMIT_BYTES=100_000)
    with (
        SocketClient(site.serving) as client,
        socket.create_connection(site.serving.address) as slow,
    ):
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        target = Requests(site.serving).target(EIO="4", transport="websocket")
        handshake = (
            f"GET {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        slow.sendall(handshake.encode() + client_frame(Opcode.TEXT, b"40"))
        (server,) = site.socketio.server.servers
        wait_for(lambda: len(server.clients) == 2, "both are connected")
        sent = 0
        while len(server.clients) == 2:
            site.socketio.emit("much", "x" * 10_000)
            sent += 1
            client.events(sent)
            assert sent < 5000
        assert client.ask("ack", 1) == [1]
        assert list(server.clients) == [client.sid]


def test_polling_client_that_does_not_poll_is_evicted(make_site: Callable[..., Site]) -> None:
    site = make_site(LIVE_BACKLOG_LIMIT_BYTES=100_000)
    session = Requests(site.serving).open()
    assert session.post("40").status == 200
    assert session.poll().status == 200
    for _ in range(11):
        site.socketio.emit("much", "x" * 10_000)
    wait_for(lambda: session.poll().status == 400, "the session has ended")


@pytest.mark.parametrize(("limit", "text"), [(PENDING_LIMIT, "x" * 100_000), (2, "x")])
def test_client_for_which_too_much_waits_before_it_is_accepted_is_disconnected(
    site: Site, client: SocketClient, monkeypatch: pytest.MonkeyPatch, limit: int, text: str
) -> None:
    monkeypatch.setattr("flasknado.socketio.server.PENDING_LIMIT", limit)
    (engine,) = _engines(site.serving)
    (server,) = site.socketio.server.servers
    before = engine.gone["slow"]
    site.go_on.clear()
    with SocketClient(site.serving, at_once=False) as waiting:
        waiting.send("40/gated,")
        wait_for(lambda: "/gated" in server.stats()["namespaces"], "it is asked about")
        for number in range(12):
            site.socketio.emit("much", text, namespace="/gated")
            # Those of one turn are written together, as one.
            assert client.ask("ack", number) == [number]
        site.go_on.set()
        waiting.wait_closed()
    assert engine.gone["slow"] == before + 1


def test_clients_of_a_process_and_of_an_address_are_bounded(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(LIVE_MAX_PER_ADDRESS=2)
    requests = Requests(site.serving)
    first = requests.open()
    requests.open()
    answer = requests.send(EIO="4", transport="polling")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert "as many as it may" in answer.json["message"]
    first.post("1")
    assert requests.open().sid


def test_emitting_waits_while_too_much_is_on_its_way(
    site: Site, client: SocketClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    (server,) = site.socketio.server.servers
    monkeypatch.setattr("flasknado.socketio.emitter.BACKLOG_TIMEOUT_S", 0.05)
    monkeypatch.setattr(server.deliveries, "waiting_bytes", BACKLOG_BYTES + 1)
    with pytest.raises(BacklogFull, match="emit less, or later"):
        site.socketio.emit("more")
    monkeypatch.setattr(server.deliveries, "waiting_bytes", 0)
    site.socketio.emit("goes on")
    client.wait_for_packet('42["goes on"')


@pytest.mark.parametrize(
    ("event", "error"), [("fail", "ZeroDivisionError"), ("exit", "SystemExit: out")]
)
def test_failure_of_a_handler_is_logged_and_nothing_of_it_is_told(
    client: SocketClient, caplog: pytest.LogCaptureFixture, event: str, error: str
) -> None:
    client.emit(event, ack_id=1)
    assert client.ask("ack", "still here") == ["still here"]
    wait_for(lambda: error in caplog.text, "the log has it")
    assert f"event {event!r} in /" in caplog.text
    assert not [packet for packet in client.packets if "Zero" in str(packet)]


@pytest.mark.parametrize("origin", ["https://evil.example", "http://["])
@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_page_of_another_origin_is_refused(site: Site, transport: str, origin: str) -> None:
    headers = {"Origin": origin}
    if transport == "websocket":
        headers |= {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
    answer = Requests(site.serving).send(headers=headers, EIO="4", transport=transport)
    assert answer.status == 403
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_session_of_another_is_out_of_reach_of_a_foreign_page(
    site: Site, polling: PollingSession
) -> None:
    stolen = PollingSession(Requests(site.serving), polling.sid, {"Origin": "https://evil.example"})
    assert stolen.post('42["echo","as somebody"]').status == 403
    assert polling.post('42["echo","myself"]').status == 200
    assert polling.poll().text == '42["back","myself"]'


def test_client_that_joins_no_namespace_is_sent_away(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flasknado.socketio.server.CONNECT_TIMEOUT_S", 0)
    with Requests(site.serving).websocket() as websocket:
        websocket.recv(15)

        def ping_all() -> None:
            endpoint_engine = next(iter(_engines(site.serving)))
            for session in list(endpoint_engine.sessions.values()):
                session.due_at = 0
                endpoint_engine._look_at(session, endpoint_engine.loop.time())

        site.serving.on_loop(ping_all)
        read_to_end(websocket)


def _engines(serving: Serving) -> list[Any]:
    callbacks = serving.server._drain_callbacks
    return [c.__self__ for c in callbacks if hasattr(getattr(c, "__self__", None), "sessions")]


def test_transport_of_a_client_at_rest_holds_no_task_and_no_timer(
    site: Site, client: SocketClient
) -> None:
    held = site.socketio.server.client(client.sid)
    assert held is not None
    assert held.connection.jobs is None
    assert held.rooms is held.pending is held.callbacks is None
    transport = held.connection.link._transport
    assert isinstance(transport, WebSocketTransport)
    assert transport._waiting is None


def test_numbers_are_for_the_metrics(make_site: Callable[..., Site]) -> None:
    site = make_site()
    with SocketClient(site.serving) as client:
        client.ask("ack")
        settings = site.serving.server.native.application.settings
        (source,) = settings["metrics_sources"]
        families = {family.name: family.samples for family in site.serving.on_loop(source)}
        assert families["socketio_sessions"] == {("polling",): 0, ("websocket",): 1}
        assert families["socketio_clients"] == {(): 1}
        assert families["socketio_events_received"] == {(): 1}
        assert families["socketio_writes"] == {(): 1}
        client.send("4?")
        client.wait_closed()
        families = {family.name: family.samples for family in site.serving.on_loop(source)}
        assert families["socketio_disconnects"] == {("protocol",): 1}
        assert families["socketio_clients"] == {(): 0}
