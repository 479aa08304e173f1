"""What compression of live events costs and saves: processor time and bytes, at 1,000 clients.

    python -m loadtests.live_compression

Prints a row for each transport, plain and compressed: a burst of events of about 1 KB of JSON, to
clients that all follow one channel. The processor time is the server's alone.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import selectors
import socket
import sys
import time
from multiprocessing.connection import Connection

from flask import Flask

import flasknado.live
from flasknado import HTTPServer, WSGIContainer, serve
from flasknado.live import Live

ROWS = [("sse", False), ("sse", True), ("websocket", False), ("websocket", True)]
KEY = "MDEyMzQ1Njc4OWFiY2RlZg=="
DEADLINE_S = 60.0
WORDS = [
    "a",
    "about",
    "after",
    "all",
    "also",
    "an",
    "and",
    "any",
    "as",
    "at",
    "back",
    "be",
    "because",
    "but",
    "by",
    "can",
    "come",
    "could",
    "day",
    "do",
    "even",
    "first",
    "for",
    "from",
    "get",
    "give",
    "go",
    "good",
    "have",
    "he",
    "her",
    "him",
    "his",
    "how",
    "i",
    "if",
    "in",
    "into",
    "it",
    "its",
    "just",
    "know",
    "like",
    "look",
    "make",
    "me",
    "most",
    "my",
    "new",
    "no",
    "not",
    "now",
    "of",
    "on",
    "one",
    "only",
    "or",
    "other",
    "our",
    "out",
    "over",
    "people",
    "say",
    "see",
    "she",
    "so",
    "some",
    "take",
    "than",
    "that",
    "the",
    "their",
    "them",
    "then",
    "there",
    "these",
    "they",
    "think",
    "this",
    "time",
    "to",
    "two",
    "up",
    "us",
    "use",
    "want",
    "way",
    "we",
    "well",
    "what",
    "when",
    "which",
    "who",
    "will",
    "with",
    "work",
    "would",
    "year",
    "you",
    "your",
]
QUIET_S = 1.0


def event(number: int) -> dict[str, object]:
    """Return data such as an application publishes: some fields, some text."""
    text = " ".join(random.Random(number).choices(WORDS, k=120))
    return {"id": number, "author": f"user {number % 17}", "text": text, "likes": number * 7}


def server(port: Connection, compression: bool) -> None:
    """Serve, publish what is asked for, and answer with the processor time since."""
    app = Flask(__name__)
    app.config["LIVE_COMPRESSION"] = compression
    live = Live(app, database_url="memory://")

    @live.authorize
    def may_read(channel: str) -> bool:
        return channel == "a"

    @app.get("/burst/<int:count>")
    def burst(count: int) -> str:
        for number in range(count):
            live.publish("a", "comment", event(number))
        return "published"

    @app.get("/cpu")
    def cpu() -> str:
        return str(time.process_time())

    def build() -> HTTPServer:
        return HTTPServer(WSGIContainer(app), handlers=flasknado.live.routes())

    serve(build, bind=f"127.0.0.1:{port.recv()}", workers=1, threads=4)


def request(transport: str, compressed: bool) -> bytes:
    """Return the request of a client."""
    fields = ["Host: a"]
    path = "/live/events?channel=a"
    if transport == "websocket":
        path = "/live/socket?channel=a"
        fields += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        fields.append(f"Sec-WebSocket-Key: {KEY}")
        if compressed:
            fields.append("Sec-WebSocket-Extensions: permessage-deflate")
    elif compressed:
        fields.append("Accept-Encoding: gzip")
    return "\r\n".join([f"GET {path} HTTP/1.1", *fields, "", ""]).encode()


def ask(port: int, path: str) -> str:
    """Return the body of a request."""
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.sendall(f"GET {path} HTTP/1.0\r\nHost: a\r\n\r\n".encode())
        answer = b""
        while data := client.recv(65536):
            answer += data
    return answer.partition(b"\r\n\r\n")[2].decode()


def drain(selector: selectors.BaseSelector) -> int:
    """Return how many bytes come, until none have for a while."""
    received = 0
    quiet_at = time.monotonic() + QUIET_S
    while time.monotonic() < quiet_at:
        for key, _ in selector.select(0.1):
            client = key.fileobj
            assert isinstance(client, socket.socket)
            received += len(client.recv(1 << 20))
            quiet_at = time.monotonic() + QUIET_S
    return received


def measure(port: int, transport: str, compressed: bool, clients: int, events: int) -> None:
    """Print one row."""
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        for _ in range(clients):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
            client.sendall(request(transport, compressed))
            selector.register(client, selectors.EVENT_READ)
        drain(selector)
        before = float(ask(port, "/cpu"))
        ask(port, f"/burst/{events}")
        received = drain(selector)
        cpu_ms = (float(ask(port, "/cpu")) - before) * 1000
    kind = "compressed" if compressed else "plain"
    sys.stdout.write(
        f"{transport:10} {kind:10} {cpu_ms:8.0f} ms {received / 1e6:8.1f} MB "
        f"{received / clients / events:8.0f} bytes an event\n"
    )


def main() -> None:
    """Measure every row, each with a server of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--events", type=int, default=100)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for transport, compressed in ROWS:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        ours, theirs = context.Pipe()
        process = context.Process(target=server, args=(theirs, compressed))
        process.start()
        ours.send(port)
        ends_at = time.monotonic() + DEADLINE_S
        while True:
            with contextlib.suppress(OSError):
                ask(port, "/cpu")
                break
            if time.monotonic() > ends_at:
                raise SystemExit("the server did not start")
            time.sleep(0.1)
        try:
            measure(port, transport, compressed, options.clients, options.events)
        finally:
            process.terminate()
            process.join()


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "error")
    main()
