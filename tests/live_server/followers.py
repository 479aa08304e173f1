"""Many live clients on one event loop, over every transport, that resume wherever they are cut.

They are written on plain sockets and share no code with the server, so that an error in the
framing is seen. A follower remembers every event that it was given, and judges nothing.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import socket
import threading
import time
from array import array
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urlencode

import uvloop

HOST = "127.0.0.1"
ANSWER_DEADLINE_S = 60.0
POLL_TIMEOUT_S = 20
BACK_OFF_S = (0.02, 0.4)
CUT_INTERVAL_S = 0.05
DEAF_CHANNEL = "bulk"
"""What the clients that never read ask for, and nobody else."""
_PING, _PONG, _CLOSE, _TEXT = 0x89, 0x8A, 0x88, 0x81
_MASK = b"\x11\x22\x33\x44"


class Refused(Exception):
    """The server answered, but not with a stream."""


class Ended(Exception):
    """The server ended the stream."""


class Follower:
    """A client of some channels that reads; on the loop's thread."""

    path = ""

    def __init__(self, fleet: Fleet, channels: Sequence[str]) -> None:
        self.fleet = fleet
        self.channels = channels
        self.cursor = fleet.cursor
        self.ticket: str | None = None
        self.received = array("q")
        """The offsets of the events, as they came."""
        self.resets = 0
        self.writer: asyncio.StreamWriter | None = None
        """Set while the server has accepted the connection."""

    async def run(self) -> None:
        """Follow, and come back by cursor whatever happens, until cancelled."""
        while True:
            self.fleet.connects += 1
            try:
                await self._once()
            except Refused:
                self.fleet.refusals += 1
            except (Ended, OSError, EOFError, TimeoutError):
                pass
            await asyncio.sleep(random.uniform(*BACK_OFF_S))

    async def _once(self) -> None:
        writer = None
        try:
            async with asyncio.timeout(ANSWER_DEADLINE_S):
                reader, writer = await asyncio.open_connection(HOST, self.fleet.port)
                writer.write(self.request())
                await self.answered(reader)
            self.writer = writer
            await self.follow(reader, writer)
        finally:
            self.writer = None
            if writer is not None:
                writer.transport.abort()

    def query(self, **more: object) -> str:
        """Return the query of a request that goes on after the cursor."""
        pairs = [("channel", channel) for channel in self.channels]
        pairs += [("after", self.cursor), *((key, str(value)) for key, value in more.items())]
        if self.ticket is not None:
            pairs.append(("ticket", self.ticket))
            self.ticket = None
        return urlencode(pairs)

    def request(self) -> bytes:
        return f"GET {self.path}?{self.query()} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    async def answered(self, reader: asyncio.StreamReader) -> bytes:
        """Return the head of a good answer; raises `Refused`."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if head[9:12] not in (b"200", b"101"):
            raise Refused(head)
        return head

    async def follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    def take(self, message: dict[str, Any]) -> None:
        """Note an event, or heed what the server says itself."""
        name, cursor = message["event"], message["id"]
        if name == "reset":
            self.resets += 1
        elif name == "reconnect":
            self.ticket = message["data"]["ticket"]
        elif name != "heartbeat":
            self.received.append(int(cursor.rpartition(":")[2]))
            self.fleet.note_latency(time.monotonic() - message["data"]["at"])
        if cursor is not None:
            self.cursor = cursor


async def chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Decode a chunked body (RFC 9112, section 7.1) until its end; raises `Ended`."""
    while True:
        line = await reader.readline()
        if not line.strip():
            raise Ended
        size = int(line, 16)
        data = await reader.readexactly(size + 2)
        if not size:
            raise Ended
        yield data[:-2]


class EventSource(Follower):
    path = "/live/events"

    async def follow(self, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        held = b""
        async for chunk in chunks(reader):
            *blocks, held = (held + chunk).split(b"\n\n")
            for block in blocks:
                self._take_block(block)

    def _take_block(self, block: bytes) -> None:
        fields = dict(line.split(b": ", 1) for line in block.split(b"\n"))
        if b"data" in fields:
            message = json.loads(fields[b"data"])
            assert fields[b"id"].decode() == message["id"], block
            assert fields[b"event"].decode() == message["event"], block
            self.take(message)
        elif b"id" in fields:
            cursor, _, ticket = fields[b"id"].decode().partition("~")
            self.cursor, self.ticket = cursor, ticket or None


class Lines(Follower):
    path = "/live/ndjson"

    async def follow(self, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        held = b""
        async for chunk in chunks(reader):
            *lines, held = (held + chunk).split(b"\n")
            for line in lines:
                self.take(json.loads(line))


class LongPoll(Follower):
    """Asks again on the same connection until that is cut."""

    path = "/live/poll"

    def request(self) -> bytes:
        query = self.query(timeout_s=POLL_TIMEOUT_S)
        return f"GET {self.path}?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    async def answered(self, reader: asyncio.StreamReader) -> bytes:
        head = await super().answered(reader)
        length = int(head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
        answer = json.loads(await reader.readexactly(length))
        for message in answer["events"]:
            self.take(message)
        self.cursor = answer["cursor"] or self.cursor
        return head

    async def follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(self.request())
            async with asyncio.timeout(ANSWER_DEADLINE_S):
                await self.answered(reader)


class WebSocket(Follower):
    path = "/live/socket"

    def request(self) -> bytes:
        key = base64.b64encode(random.randbytes(16)).decode()
        handshake = (
            f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        )
        message = {"type": "subscribe", "channels": self.channels, "after": self.cursor}
        if self.ticket is not None:
            message["ticket"] = self.ticket
            self.ticket = None
        # The first message may follow the handshake at once; it waits in the socket.
        return handshake.encode() + masked(_TEXT, json.dumps(message).encode())

    async def follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            kind, length = await reader.readexactly(2)
            if length == 126:
                length = int.from_bytes(await reader.readexactly(2), "big")
            elif length == 127:
                length = int.from_bytes(await reader.readexactly(8), "big")
            payload = await reader.readexactly(length)
            if kind == _CLOSE:
                raise Ended
            if kind == _PING:
                writer.write(masked(_PONG, payload))
            elif kind == _TEXT:
                message = json.loads(payload)
                if message.get("type") == "error":
                    raise Refused(payload)
                if "event" in message:
                    self.take(message)


def masked(kind: int, payload: bytes) -> bytes:
    """Return a client's frame (RFC 6455, section 5.2)."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    body = bytes(byte ^ _MASK[i % 4] for i, byte in enumerate(payload))
    return bytes([kind]) + length + _MASK + body


TRANSPORTS: tuple[type[Follower], ...] = (EventSource, Lines, WebSocket, LongPoll)


class Fleet(threading.Thread):
    """All clients, on a loop of this thread; its numbers may be read on any thread."""

    def __init__(self, port: int, cursor: str, channel_sets: Sequence[Sequence[str]]) -> None:
        super().__init__(name="fleet", daemon=True)
        self.port = port
        self.cursor = cursor
        self.channel_sets = channel_sets
        self.followers: list[Follower] = []
        self.deaf: list[socket.socket] = []
        self.phase = "calm"
        self.latencies: dict[str, array[float]] = defaultdict(lambda: array("d"))
        self.cuts = self.connects = self.refusals = 0
        self.failures: list[str] = []
        """What went wrong in the clients themselves, or in what they were sent."""
        self.cut_every_s: float | None = None
        """How long a connection lives on average before it is cut."""
        self._over = threading.Event()

    def add(self, count: int) -> None:
        """Add followers, spread over the transports and sets of channels; before `start()`."""
        for number in range(count):
            channels = self.channel_sets[number // len(TRANSPORTS) % len(self.channel_sets)]
            self.followers.append(TRANSPORTS[number % len(TRANSPORTS)](self, channels))

    def add_deaf(self, count: int) -> None:
        """Add clients that ask for everything there was, and never read; on any thread."""
        for number in range(count):
            kind = TRANSPORTS[number % 3]
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            sock.settimeout(ANSWER_DEADLINE_S)
            sock.connect((HOST, self.port))
            sock.sendall(kind(self, [DEAF_CHANNEL]).request())
            self.deaf.append(sock)

    def replace_deaf(self) -> None:
        """Let new clients that never read come in the place of the old ones."""
        count = len(self.deaf)
        self.dismiss_deaf()
        self.add_deaf(count)

    def dismiss_deaf(self) -> None:
        """Let go of the clients that never read."""
        while self.deaf:
            self.deaf.pop().close()

    def note_latency(self, seconds: float) -> None:
        self.latencies[self.phase].append(seconds)

    @property
    def connected(self) -> int:
        return sum(follower.writer is not None for follower in self.followers)

    def run(self) -> None:
        uvloop.run(self._all())

    async def _all(self) -> None:
        tasks = [asyncio.create_task(self._guarded(follower)) for follower in self.followers]
        while not self._over.is_set():
            await asyncio.sleep(CUT_INTERVAL_S)
            if self.cut_every_s:
                for follower in self.followers:
                    if random.random() < CUT_INTERVAL_S / self.cut_every_s:
                        self._cut(follower)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _guarded(self, follower: Follower) -> None:
        try:
            await follower.run()
        except Exception as error:  # whatever it is, the test shall show it
            self.failures.append(f"{type(follower).__name__}: {error!r}")

    def _cut(self, follower: Follower) -> None:
        if follower.writer is not None:
            self.cuts += 1
            follower.writer.transport.abort()

    def end(self) -> None:
        """End every client and the thread."""
        self._over.set()
        with contextlib.suppress(RuntimeError):
            self.join(ANSWER_DEADLINE_S)
        self.dismiss_deaf()
