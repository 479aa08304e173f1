"""Server-sent events and WebSockets as one writes them on stock Tornado: sets and a loop.

python -m loadtests.apps.live_tornado PORT [asyncio|uvloop]
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import defaultdict

from tornado.iostream import StreamClosedError
from tornado.log import access_log
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

HOST = "127.0.0.1"
streams: dict[str, set[EventsHandler]] = defaultdict(set)
sockets: dict[str, set[SocketHandler]] = defaultdict(set)


class HelloHandler(RequestHandler):
    def get(self) -> None:
        self.write("Hello, World!")


class EventsHandler(RequestHandler):
    async def get(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        await self.flush()
        self.gone = asyncio.Event()
        streams[self.get_query_argument("channel")].add(self)
        await self.gone.wait()

    def on_connection_close(self) -> None:
        streams[self.get_query_argument("channel")].discard(self)
        self.gone.set()


class SocketHandler(WebSocketHandler):
    def open(self, *_args: str, **_kwargs: str) -> None:
        sockets[self.get_query_argument("channel")].add(self)

    def on_message(self, message: str | bytes) -> None:
        """Clients have nothing to say."""

    def on_close(self) -> None:
        sockets[self.get_query_argument("channel")].discard(self)


class PublishHandler(RequestHandler):
    def post(self) -> None:
        text = self.request.body.decode()
        channel = self.get_query_argument("channel")
        for stream in streams[channel]:
            stream.write(f"data: {text}\n\n")
            with contextlib.suppress(StreamClosedError):
                stream.flush()
        for socket in sockets[channel]:
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
    loop_factory = None
    if sys.argv[2:] == ["uvloop"]:
        import uvloop

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main(int(sys.argv[1])))
