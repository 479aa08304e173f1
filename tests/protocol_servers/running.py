"""How the echo servers of Engine.IO and Socket.IO are run: on a port, until they are ended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import uvloop
from tornado.netutil import bind_sockets

from flasknado import HTTPServer

SUITE_PORT = 3000
"""Where the protocols' public test suites expect a server."""


def run(make_server: Callable[[str], HTTPServer]) -> None:
    """Run what `make_server(layer)` returns, on the loop, by the command line's PORT and LAYER."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else SUITE_PORT
    layer = sys.argv[2] if len(sys.argv) > 2 else "llhttp"
    new_loop = uvloop.new_event_loop if layer == "llhttp" else asyncio.new_event_loop

    async def main() -> None:
        echo_server = make_server(layer)
        sockets = bind_sockets(port, "localhost")
        echo_server.add_sockets(sockets)
        print(f"http://localhost:{sockets[0].getsockname()[1]}", flush=True)  # noqa: T201
        await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
