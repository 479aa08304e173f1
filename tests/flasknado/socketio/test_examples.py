"""Flask-SocketIO's published examples: applications of their shape, with the import changed.

`example/app.py`, `example/app_namespace.py` and `example/sessions.py` of its repository, and
flask-socketio-chat. Ping and pong of its latency page are in the first two.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from flasknado import HTTPServer, WSGIContainer
from tests.flasknado.live.helpers import wait_for
from tests.flasknado.socketio.examples import app, app_namespace, chat, sessions
from tests.flasknado.socketio.test_node import run_program
from tests.support.serving import serving

EVERY_EMIT = {
    "first": {"data": "connected", "count": 0},
    "own": {"data": "mine", "count": 1},
    "allToo": {"data": "everybody", "count": 2},
    "heard": {"data": "everybody", "count": 2},
    "inRooms": "in itself, room",
    "inRoom": "roomy",
    "closed": "room closes",
    "left": "in itself",
    "farewell": "goodbye",
    "reason": "io server disconnect",
}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """Return what socket.io-client was told by each of them."""
    with ExitStack() as stack:
        arguments = []
        for module in (app, app_namespace, sessions, chat):
            name = module.__name__.rpartition(".")[2]
            make = lambda module=module: HTTPServer(WSGIContainer(module.app))  # noqa: E731
            arguments.append(f"{name}={stack.enter_context(serving(make)).url}")
        told = run_program("socketio_examples.mjs", *arguments)
        wait_for(lambda: len(app.gone) == 3, "each client of the first has gone")
        wait_for(lambda: len(app_namespace.gone) == 2, "each client of the second has gone")
        return told


def test_functions_of_app_py_answer(found: dict[str, Any]) -> None:
    assert found["app"] == EVERY_EMIT | {"other": ["an event", {"of": "any name"}], "ticks": True}
    assert sorted(reason for _, reason in app.gone) == [
        "client disconnect",
        "client disconnect",
        "server disconnect",
    ]


def test_methods_of_app_namespace_py_answer(found: dict[str, Any]) -> None:
    assert found["app_namespace"] == EVERY_EMIT


def test_session_of_sessions_py_is_one_for_pages_and_events(found: dict[str, Any]) -> None:
    assert found["sessions"] == [
        {"value": "of a page", "user": "anonymous"},
        {"value": "of a page", "user": "ann"},
        {"value": "of a page again", "user": "ann"},
        {"value": "of a page again", "user": "ann"},
    ]


def test_chat_tells_everybody_in_the_room(found: dict[str, Any]) -> None:
    assert found["chat"] == [
        "ann has entered the room.",
        "bob has entered the room.",
        "bob:hello",
        "bob has left the room.",
    ]
