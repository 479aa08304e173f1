"""Flask-SocketIO on threads, as its documentation shows it."""

import flask
from flask_socketio import SocketIO, emit, join_room, send

app = flask.Flask(__name__)
app.secret_key = "for a test"
socketio = SocketIO(app, async_mode="threading", logger=False)


@app.get("/")
def index():
    return "a page"


@app.post("/news/<room>")
def news(room):
    socketio.emit("news", flask.request.get_data(as_text=True), to=room)
    return "", 204


@socketio.on("connect")
def connect():
    emit("welcome", flask.request.args.get("name", "you"))


@socketio.on("message")
def message(text):
    send(text.upper())


@socketio.on("join")
def join(room):
    join_room(room)
    return f"in {room}"
