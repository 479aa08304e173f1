"""Hello: `python examples/hello.py`, or `flasknado examples.hello:app`."""

from flask import Flask

from flasknado import HTTPServer, WSGIContainer, serve

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    return "Hello, world!\n"


if __name__ == "__main__":
    serve(lambda: HTTPServer(WSGIContainer(app)))
