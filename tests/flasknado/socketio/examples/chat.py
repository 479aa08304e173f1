"""Of the shape of flask-socketio-chat: a factory, a form, rooms by what the session says."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, request, session

from flasknado.socketio import SocketIO, emit, join_room, leave_room  # there: from flask_socketio

socketio = SocketIO()
main = Blueprint("main", __name__)


@main.post("/")
def index() -> tuple[str, int]:
    session["name"] = request.form["name"]
    session["room"] = request.form["room"]
    return "", 204


@socketio.on("joined", namespace="/chat")
def joined(_message: Any) -> None:
    room = session.get("room")
    join_room(room)
    emit("status", {"msg": f"{session.get('name')} has entered the room."}, room=room)


@socketio.on("text", namespace="/chat")
def text(message: dict[str, str]) -> None:
    emit("message", {"msg": f"{session.get('name')}:{message['msg']}"}, room=session.get("room"))


@socketio.on("left", namespace="/chat")
def left(_message: Any) -> None:
    room = session.get("room")
    leave_room(room)
    emit("status", {"msg": f"{session.get('name')} has left the room."}, room=room)


def create_app(debug: bool = False) -> Flask:
    app = Flask("chat")
    app.debug = debug
    app.config["SECRET_KEY"] = "a secret of the tests"
    app.register_blueprint(main)
    socketio.init_app(app)
    return app


app = create_app()
