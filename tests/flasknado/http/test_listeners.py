"""Listening sockets: who has connected is answered, whenever they are closed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from flasknado import HTTPServer
from tests.flasknado.site import Site
from tests.support.raw import DEADLINE_S, read_to_end, statuses

MakeSite = Callable[..., Site]


async def connect_and_stop(server: HTTPServer, sock: socket.socket, port: int, turns: int) -> None:
    """Stop the server when its loop has had `turns` turns to accept the connection."""
    sock.connect(("127.0.0.1", port))
    sock.sendall(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    for _ in range(turns):
        await asyncio.sleep(0)
    server.stop()


@pytest.mark.parametrize("turns", range(5))
def test_client_that_connects_when_the_server_stops_is_answered(
    make_site: MakeSite, layer: str, turns: int
) -> None:
    serving = make_site(layer).serving
    with socket.socket() as sock:
        sock.settimeout(DEADLINE_S)
        run = connect_and_stop(serving.server, sock, serving.port, turns)
        asyncio.run_coroutine_threadsafe(run, serving.loop).result(DEADLINE_S)
        assert statuses(read_to_end(sock)) == [200]
