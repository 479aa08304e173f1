"""Of the shape of Flask-SocketIO's `example/app.py`: every kind of emit, as functions."""

from __future__ import annotations

from threading import Lock
from typing import Any

from flask import Flask, copy_current_request_context, request, session

from flasknado.socketio import (  # there: from flask_socketio import ...
    SocketIO,
    close_room,
    disconnect,
    emit,
    join_room,
    leave_room,
    rooms,
)

app = Flask("app")
app.config["SECRET_KEY"] = "a secret of the tests"
socketio = SocketIO(app, async_mode=None, logger=False, engineio_logger=False)
thread = None
thread_lock = Lock()
gone: list[tuple[str, str]] = []


def tell_the_time() -> None:
    """Emit by itself, on a thread of its own, without a context."""
    for tick in range(200):
        socketio.sleep(0.1)
        socketio.emit("tick", {"tick": tick})


def reply(data: Any, **options: Any) -> None:
    session["count"] = session.get("count", 0) + 1
    emit("reply", {"data": data, "count": session["count"]}, **options)


@socketio.event
def to_me(message: dict[str, Any]) -> None:
    reply(message["data"])


@socketio.event
def to_all(message: dict[str, Any]) -> None:
    reply(message["data"], broadcast=True)


@socketio.event
def join(message: dict[str, Any]) -> None:
    join_room(message["room"])
    reply("in " + ", ".join(map(str, rooms())))


@socketio.event
def leave(message: dict[str, Any]) -> None:
    leave_room(message["room"])
    reply("in " + ", ".join(map(str, rooms())))


@socketio.on("close")
def on_close(message: dict[str, Any]) -> None:
    reply(f"{message['room']} closes", to=message["room"])
    close_room(message["room"])


@socketio.event
def to_room(message: dict[str, Any]) -> None:
    reply(message["data"], to=message["room"])


@socketio.on("*")
def any_other(event: str, data: Any) -> None:
    reply([event, data])


@socketio.event
def goodbye() -> None:
    @copy_current_request_context
    def may_go() -> None:
        disconnect()

    reply("goodbye", callback=may_go)


@socketio.event
def my_ping() -> None:
    emit("my_pong")


@socketio.event
def connect() -> None:
    global thread
    with thread_lock:
        if thread is None:
            thread = socketio.start_background_task(tell_the_time)
    emit("reply", {"data": "connected", "count": 0})


@socketio.on("disconnect")
def on_disconnect(reason: str) -> None:
    gone.append((request.sid, reason))  # type: ignore[attr-defined]
