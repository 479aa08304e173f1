"""WebSockets as Flask-Sock's documentation shows them, with pages beside them."""

import flask
from flask_sock import Sock

app = flask.Flask(__name__)
app.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": 25, "max_message_size": 1 << 20}
sock = Sock(app)


@app.get("/")
def index():
    return "a page"


@sock.route("/echo")
def echo(ws):
    while True:
        ws.send(ws.receive())


@sock.route("/say/<name>")
def say(ws, name):
    ws.send(f"hello {name}, {flask.request.args.get('day', 'today')}")
    ws.close(4001, "said")


@sock.route("/fails")
def fails(ws):
    ws.send("so far")
    raise RuntimeError("on purpose")
