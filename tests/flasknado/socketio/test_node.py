"""socket.io-client in Node.js: both transports, the upgrade, and what else it expects."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from flasknado import HTTPServer, WSGIContainer
from flasknado.socketio import (
    ConnectionRefusedError,  # noqa: A004
    SocketIO,
    call,
    disconnect,
    emit,
    join_room,
)
from tests.support.process import PROJECT_ROOT
from tests.support.programs import missing, need
from tests.support.serving import serving

FOLDER = PROJECT_ROOT / "tests" / "javascript"
SCENARIOS = (
    *("websocket", "polling", "upgrade", "burst", "namespaces", "rooms", "called", "dismissed"),
    *("reconnects", "recovers"),
)


def application(**options: Any) -> Flask:
    app = Flask("node")
    socketio = SocketIO(app, **options)
    for namespace in ("/", "/durable"):
        socketio.on_event("ack", lambda *args: args, namespace)
        socketio.on_event("join", lambda room: join_room(room), namespace)
    socketio.on_event("echo", lambda *args: emit("back", args))
    socketio.on_event("length", lambda text: len(text))
    socketio.on_event("say", lambda room, text: emit("said", text, to=room))
    socketio.on_event("call me", lambda: call("question", 1, timeout=10))
    socketio.on_event("dismiss me", lambda: disconnect())

    @socketio.on("connect", namespace="/admin")
    def connect(auth: Any) -> None:
        if auth != {"token": "right"}:
            raise ConnectionRefusedError("not you", {"code": 1})

    @socketio.on("emit later", namespace="/durable")
    def emit_later(room: str) -> None:
        def emit_all() -> None:
            for number in range(3):
                socketio.emit("missed", number, to=room, namespace="/durable")

        threading.Timer(0.02, emit_all).start()

    return app


def run(url: str, *scenarios: str) -> dict[str, Any]:
    """Return what socket.io-client finds in each scenario."""
    return run_program("socketio_client.mjs", url, *scenarios)


def run_program(name: str, *arguments: str) -> dict[str, Any]:
    """Return what a program of tests/javascript writes."""
    if not (FOLDER / "node_modules" / "socket.io-client").is_dir():
        missing("socket.io-client is missing: npm --prefix tests/javascript ci")
    command = [need("node"), str(FOLDER / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def found() -> Iterator[dict[str, Any]]:
    app = application(durable=["/durable"])
    with serving(lambda: HTTPServer(WSGIContainer(app))) as served:
        yield run(served.url, *SCENARIOS)


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_events_and_acknowledgements_go_both_ways(found: dict[str, Any], transport: str) -> None:
    assert found[transport] == {
        "back": ["text €", 1.5, None, {"list": [True]}, [1, 2, 3]],
        "answer": [4],
        "transport": transport,
    }


def test_client_upgrades_and_loses_nothing(found: dict[str, Any]) -> None:
    assert found["upgrade"] == {"answers": list(range(20)), "transport": "websocket"}


def test_client_divides_what_is_larger_than_a_payload(found: dict[str, Any]) -> None:
    assert found["burst"] == [100_000] * 30


def test_namespaces_refuse_with_their_reasons(found: dict[str, Any]) -> None:
    assert found["namespaces"] == {
        "distinct": True,
        "refused": ["not you", {"code": 1}],
        "invalid": "Invalid namespace",
    }


def test_rooms_and_sids_are_addresses(found: dict[str, Any]) -> None:
    assert found["rooms"] == ["hello", "two: to itself"]


def test_call_returns_what_the_client_answers(found: dict[str, Any]) -> None:
    assert found["called"] == 2 or found["called"] == [2, "and more"]


def test_disconnected_client_knows_that_the_server_did_it(found: dict[str, Any]) -> None:
    assert found["dismissed"] == "io server disconnect"


def test_client_reconnects_unrecovered_where_nothing_is_durable(found: dict[str, Any]) -> None:
    assert found["reconnects"] == {"recovered": False, "same": False}


def test_client_recovers_what_it_missed(found: dict[str, Any]) -> None:
    assert found["recovers"] == {"recovered": [True, True], "same": True, "seen": [0, 1, 2]}


def test_msgpack_is_spoken() -> None:
    app = application(serializer="msgpack", path="msgpack.io")
    with serving(lambda: HTTPServer(WSGIContainer(app))) as served:
        assert run(served.url, "msgpack") == {"msgpack": ["text", [1], 5]}
