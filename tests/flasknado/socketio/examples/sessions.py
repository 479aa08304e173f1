"""Of the shape of Flask-SocketIO's `example/sessions.py`: one session for pages and events.

There Flask-Session keeps it in files; here a dictionary does.
"""

from __future__ import annotations

import secrets
from typing import Any

from flask import Flask, Request, Response, jsonify, request, session
from flask.sessions import SessionInterface, SessionMixin

from flasknado.socketio import SocketIO, emit  # there: from flask_socketio import ...


class ServerSession(dict[str, Any], SessionMixin):
    sid = ""


class ServerSessions(SessionInterface):
    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}

    def open_session(self, app: Flask, request: Request) -> ServerSession:
        sid = request.cookies.get(self.get_cookie_name(app), "")
        opened = ServerSession(self.kept.get(sid, {}))
        opened.sid = sid if sid in self.kept else secrets.token_hex(8)
        return opened

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        assert isinstance(session, ServerSession)
        self.kept[session.sid] = dict(session)
        response.set_cookie(self.get_cookie_name(app), session.sid)


app = Flask("sessions")
app.session_interface = ServerSessions()
socketio = SocketIO(app, manage_session=False)


def told() -> dict[str, Any]:
    return {"value": session.get("value", ""), "user": session.get("user", "anonymous")}


@app.route("/session", methods=["GET", "POST"])
def session_access() -> Any:
    if request.method == "GET":
        return jsonify(told())
    session.update(request.get_json())
    return "", 204


@socketio.on("get-session")
def get_session() -> None:
    emit("refresh-session", told())


@socketio.on("set-session")
def set_session(data: dict[str, Any]) -> None:
    session.update(data)
