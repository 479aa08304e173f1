"""The Socket.IO application of the benchmark on stock python-socketio under Tornado.

python -m loadtests.apps.socketio_tornado PORT
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import socketio  # type: ignore[import-not-found]
from tornado.log import access_log
from tornado.web import Application, RequestHandler

from loadtests.apps.socketio_views import NEWS, OPTIONS

HOST = "127.0.0.1"
sio: Any = socketio.AsyncServer(async_mode="tornado", **OPTIONS)


class HelloHandler(RequestHandler):
    def get(self) -> None:
        self.write("Hello, World!")


@sio.event  # type: ignore[untyped-decorator]
async def publish(_sid: str, events: int) -> None:
    for _ in range(events):
        await sio.emit("news", NEWS)


@sio.event  # type: ignore[untyped-decorator]
async def echo(_sid: str, text: str) -> str:
    return text


async def main(port: int) -> None:
    """Serve until a signal."""
    access_log.setLevel("ERROR")
    handlers = [(r"/", HelloHandler), (r"/socket.io/", socketio.get_tornado_handler(sio))]
    Application(handlers).listen(port, HOST, idle_connection_timeout=3600)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
