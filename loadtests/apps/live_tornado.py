"""Server-sent events and WebSockets as one writes them on stock Tornado: a set and a loop.

python -m loadtests.apps.live_tornado PORT
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from tornado.iostream import StreamClosedError
from tornado.log import access_log
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

HOST = "127.0.0.1"
streams: set[EventsHandler] = set()
sockets: set[SocketHandler] = set()


class HelloHandler(RequestHandler):
    def get(self) -> None:
        self.write("Hello, World!")


class EventsHandler(RequestHandler):
    async def get(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        await self.flush()
        self.gone = asyncio.Event()
        streams.add(self)
        await self.gone.wait()

    def on_connection_close(self) -> None:
        streams.discard(self)
        self.gone.set()


class SocketHandler(WebSocketHandler):
    def open(self, *_args: str, **_kwargs: str) -> None:
        sockets.add(self)

    def on_message(self, message: str | bytes) -> None:
        """Clients have nothing to say."""

    def on_close(self) -> None:
        sockets.discard(self)


class PublishHandler(RequestHandler):
    def post(self) -> None:
        text = self.request.body.decode()
        for stream in streams:
            stream.write(f"data: {text}\n\n")
            with contextlib.suppress(StreamClosedError):
                stream.flush()
        for socket in sockets:
            with contextlib.suppress(WebSocketClosedError):
                socket.write_message(text)


async def main(port: int) -> None:
    """Serve until a signal."""
    access_log.setLevel("ERROR")
    handlers = [
        (r"/", HelloHandler),
        (r"/live/events", EventsHandler),
        (r"/live/socket", SocketHandler),
        (r"/publish", PublishHandler),
    ]
    Application(handlers).listen(port, HOST, idle_connection_timeout=3600)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
