"""Requests of native handlers that a client sends without waiting for the answers."""

from __future__ import annotations

import asyncio
import socket

import uvloop
from tornado.web import RequestHandler

from flasknado import HTTPServer, WSGIContainer
from tests.support.serving import serving

DEADLINE_S = 8
ROUNDS = 40
PIPELINED = 200
REQUEST = b"POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 400\r\n\r\n" + b"x" * 400


class SlowHandler(RequestHandler):
    max_body_bytes = 1000

    async def post(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, int)
        self.write("done")


def test_connection_that_pipelines_is_read_on_after_each_burst() -> None:
    """A turn of the loop ends in the midst of a burst, again and again at another place."""
    handlers = [("/slow", SlowHandler)]
    container = WSGIContainer(lambda environ, start_response: [])
    with (
        serving(
            lambda: HTTPServer(container, handlers=handlers), new_loop=uvloop.new_event_loop
        ) as served,
        socket.create_connection(served.address, DEADLINE_S) as client,
    ):
        for number in range(1, ROUNDS + 1):
            client.sendall(REQUEST * PIPELINED)
            answers = b""
            while answers.count(b"\r\n\r\ndone") < PIPELINED:
                received = client.recv(65536)
                assert received, f"closed in burst {number}"
                answers += received
