"""Servers whose behaviour is known exactly, and the harness's view of them."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from loadtests.processes import Running
from loadtests.servers import Server, Target

needs_wrk = pytest.mark.usefixtures("wrk")
needs_locust = pytest.mark.usefixtures("locust")


@dataclass
class Fake:
    """How a fake server answers; may be changed while it runs."""

    status: int = 200
    body: bytes = b"Hello, World!"
    wait_s: float = 0.0
    closes: bool = False
    port: int = 0
    connections: int = 0
    """How many are open now."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def faking(fake: Fake) -> Iterator[Fake]:
    """Serve what `fake` says on a free port, each connection on a thread of its own."""

    counting = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            if fake.wait_s:
                time.sleep(fake.wait_s)
            length = f"Content-Length: {len(fake.body)}\r\n"
            head = f"HTTP/1.1 {fake.status} Fake\r\nContent-Type: text/plain\r\n{length}\r\n"
            self.wfile.write(head.encode() + fake.body)
            self.close_connection = self.close_connection or fake.closes

        def log_message(self, *arguments: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

        def process_request(self, *arguments: Any) -> None:
            with counting:
                fake.connections += 1
            super().process_request(*arguments)

        def shutdown_request(self, *arguments: Any) -> None:
            super().shutdown_request(*arguments)
            with counting:
                fake.connections -= 1

        def handle_error(self, *arguments: object) -> None:
            pass  # a client that goes away is what the tests are about

    with Quiet(("127.0.0.1", 0), Handler) as server:
        fake.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()


def running_of(fake: Fake) -> Running:
    """Return the harness's view of a fake server: this very process."""
    return Running(program_server("fake"), Target(fake.port, ""), os.getpid())


def program_server(name: str, *program: str) -> Server:
    """Return a server of the table that runs a Python program."""
    command = (sys.executable, *program)
    return Server(name, command, (sys.executable, "--version"), "nothing", "tests")
