"""A WebSocket endpoint that echoes, for protocol suites such as Autobahn's.

    python -m tests.protocol_servers.websocket_echo [PORT [LAYER]]
    wstest -m fuzzingclient -s SPEC     # in Python 2.7, from the package autobahntestsuite

LAYER is llhttp (on uvloop) or tornado. `/` is our codec, `/tornado` a `WebSocketHandler` of
Tornado's. SPEC is JSON: `{"outdir": DIRECTORY, "servers": [{"url": "ws://127.0.0.1:9001"}],
"cases": ["*"], "exclude-cases": ["12.*", "13.*"], "exclude-agent-cases": {}}`: cases 1-7, 9
and 10 apply; compression (12, 13) is not offered.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

import uvloop
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import RequestHandler
from tornado.websocket import WebSocketHandler

from flasknado import HTTPServer
from flasknado.native import websocket_handshake as handshake
from flasknado.native.websocket_closing import shut_down_writing
from flasknado.websocket import codec
from flasknado.websocket.codec import Receiver, WebSocketError

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
READ_BYTES = 256 * 1024
FRAMES_PER_TURN = 256
GOODBYE_TIMEOUT_S = 5.0
"""How long a client that broke the protocol may take to close."""


class EchoHandler(RequestHandler):
    """Sends every message back as it came."""

    async def get(self) -> None:
        try:
            handshake.check(self.request)
        except handshake.HandshakeError as error:
            self.set_status(error.status)
            for name, value in error.headers.items():
                self.set_header(name, value)
            return
        stream = handshake.accept(self)
        with contextlib.suppress(StreamClosedError):
            await echo(stream)


async def echo(stream: IOStream) -> None:
    """Echo until both sides have closed."""
    receiver = Receiver(MAX_MESSAGE_BYTES)
    failed = closed = False
    while not closed:
        if receiver.waiting:
            await asyncio.sleep(0)
            data = b""
        else:
            data = await stream.read_bytes(READ_BYTES, partial=True)
        try:
            for message in receiver.receive(data, FRAMES_PER_TURN):
                if message.opcode == codec.PING:
                    await stream.write(codec.frame(codec.PONG, message.payload))
                elif message.opcode == codec.CLOSE:
                    closed = True
                    if not failed:
                        await stream.write(codec.close_frame(message.close_code))
                elif message.opcode != codec.PONG:
                    await stream.write(codec.frame(message.opcode, message.payload))
        except WebSocketError as error:
            failed = True
            await stream.write(codec.close_frame(error.code, str(error)))
            shut_down_writing(stream)
            asyncio.get_running_loop().call_later(GOODBYE_TIMEOUT_S, stream.close)
    stream.close()


class TornadoEchoHandler(WebSocketHandler):
    """The same, in Tornado's own WebSocket code."""

    async def on_message(self, message: str | bytes) -> None:
        await self.write_message(message, binary=isinstance(message, bytes))


def server(layer: str = "llhttp") -> HTTPServer:
    """Return a server whose every path echoes."""
    handlers = [(r"/tornado", TornadoEchoHandler), (r"/.*", EchoHandler)]
    settings = {"websocket_max_message_size": MAX_MESSAGE_BYTES}
    return HTTPServer(None, handlers=handlers, http=layer, settings=settings)


async def main(port: int, layer: str) -> None:
    echo_server = server(layer)
    sockets = bind_sockets(port, "127.0.0.1")
    echo_server.add_sockets(sockets)
    print(f"ws://127.0.0.1:{sockets[0].getsockname()[1]}", flush=True)  # noqa: T201
    await asyncio.Event().wait()


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9001
    layer = sys.argv[2] if len(sys.argv) > 2 else "llhttp"
    new_loop = uvloop.new_event_loop if layer == "llhttp" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main(port, layer))
