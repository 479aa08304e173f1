"""A WebSocket as simple-websocket's documentation shows it: in a view, and in bare WSGI."""

import flask
import simple_websocket

app = flask.Flask(__name__)


@app.route("/echo", websocket=True)
def echo():
    ws = simple_websocket.Server(flask.request.environ, subprotocols=["upper", "lower"])
    try:
        while True:
            data = ws.receive()
            ws.send(data.upper() if ws.subprotocol == "upper" else data)
    except simple_websocket.ConnectionClosed:
        pass
    return ""


@app.get("/")
def index():
    return "a page"
