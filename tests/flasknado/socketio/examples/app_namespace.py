"""Of the shape of Flask-SocketIO's `example/app_namespace.py`: the same as a class."""

from __future__ import annotations

from typing import Any

from flask import Flask, request, session

from flasknado.socketio import (  # there: from flask_socketio import ...
    Namespace,
    SocketIO,
    close_room,
    disconnect,
    emit,
    join_room,
    leave_room,
    rooms,
)

app = Flask("app_namespace")
app.config["SECRET_KEY"] = "a secret of the tests"
socketio = SocketIO(app, async_mode=None)
gone: list[str] = []


class Test(Namespace):
    __test__ = False

    def reply(self, data: Any, **options: Any) -> None:
        session["count"] = session.get("count", 0) + 1
        emit("reply", {"data": data, "count": session["count"]}, **options)

    def on_to_me(self, message: dict[str, Any]) -> None:
        self.reply(message["data"])

    def on_to_all(self, message: dict[str, Any]) -> None:
        self.reply(message["data"], broadcast=True)

    def on_join(self, message: dict[str, Any]) -> None:
        join_room(message["room"])
        self.reply("in " + ", ".join(map(str, rooms())))

    def on_leave(self, message: dict[str, Any]) -> None:
        leave_room(message["room"])
        self.reply("in " + ", ".join(map(str, rooms())))

    def on_close(self, message: dict[str, Any]) -> None:
        self.reply(f"{message['room']} closes", room=message["room"])
        close_room(message["room"])

    def on_to_room(self, message: dict[str, Any]) -> None:
        self.reply(message["data"], room=message["room"])

    def on_goodbye(self) -> None:
        self.reply("goodbye")
        disconnect()

    def on_my_ping(self) -> None:
        emit("my_pong")

    def on_connect(self) -> None:
        emit("reply", {"data": "connected", "count": 0})

    def on_disconnect(self) -> None:
        gone.append(request.sid)  # type: ignore[attr-defined]


socketio.on_namespace(Test("/test"))
