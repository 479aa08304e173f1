"""A WebSocket endpoint that echoes, for protocol suites such as Autobahn's.

    python -m tests.protocol_servers.websocket_echo [PORT]

Cases 1-7, 9 and 10 apply; compression (12, 13) is not offered.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import RequestHandler

from flasknado import HTTPServer
from flasknado.websocket import codec, handshake
from flasknado.websocket.codec import Receiver, WebSocketError

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
READ_BYTES = 256 * 1024
LINGER_S = 1.0


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
    """Echo until the client closes or breaks the protocol."""
    receiver = Receiver(MAX_MESSAGE_BYTES)
    answer = None
    broken = False
    while answer is None:
        data = await stream.read_bytes(READ_BYTES, partial=True)
        try:
            for message in receiver.receive(data):
                if message.opcode == codec.PING:
                    stream.write(codec.frame(codec.PONG, message.payload))
                elif message.opcode == codec.CLOSE:
                    answer = codec.close_frame(message.close_code)
                elif message.opcode != codec.PONG:
                    await stream.write(codec.frame(message.opcode, message.payload))
        except WebSocketError as error:
            answer = codec.close_frame(error.code, str(error))
            broken = True
    await stream.write(answer)
    if broken:
        await linger(stream)
    stream.close()


async def linger(stream: IOStream) -> None:
    """Read on for a moment: closing over unread bytes would reset what the client has to read."""
    with contextlib.suppress(TimeoutError, StreamClosedError):
        async with asyncio.timeout(LINGER_S):
            while True:
                await stream.read_bytes(READ_BYTES, partial=True)


def server() -> HTTPServer:
    """Return a server whose every path echoes."""
    return HTTPServer(None, handlers=[(r"/.*", EchoHandler)])


async def main(port: int) -> None:
    echo_server = server()
    sockets = bind_sockets(port, "127.0.0.1")
    echo_server.add_sockets(sockets)
    print(f"ws://127.0.0.1:{sockets[0].getsockname()[1]}", flush=True)  # noqa: T201
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 9001))
