"""Server-sent events from a queue for each client, in the shape of flask-sse and its many kin."""

import queue

import flask

app = flask.Flask(__name__)
listeners = []


@app.get("/")
def index():
    return "a page"


@app.get("/events")
def events():
    mine = queue.Queue()
    listeners.append(mine)

    def stream():
        try:
            yield "event: begin\ndata: 0\n\n"
            while True:
                yield f"data: {mine.get()}\n\n"
        finally:
            listeners.remove(mine)

    return flask.Response(stream(), mimetype="text/event-stream")


@app.post("/publish")
def publish():
    for listener in listeners[:]:
        listener.put(flask.request.get_data(as_text=True))
    return str(len(listeners))


@app.get("/poll")
def poll():
    mine = queue.Queue()
    listeners.append(mine)
    try:
        return mine.get(timeout=20)
    except queue.Empty:
        return "", 204
    finally:
        listeners.remove(mine)
