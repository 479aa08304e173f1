"""Many clients at once, each with one kept connection, that judge every answer strictly.

A request fails if its answer is not the one expected, or if there is none. A client sends
a request again, once and on a new connection, only where RFC 9112, section 9.3.1, allows it:
the request is idempotent, the connection had been at rest after an earlier answer, and it
closed before a byte of this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import uvloop

ANSWER_DEADLINE_S = 60.0


@dataclass(frozen=True)
class Ask:
    """One request as bytes, and what its answer's body must match."""

    request: bytes
    body: re.Pattern[bytes]


@dataclass(frozen=True)
class Failure:
    """A request that got no good answer, and the worker that its connection was known to lead to.

    `worker` is 0 where the connection had answered nothing yet.
    """

    client: int
    request: str
    reason: str
    worker: int


class Closed(Exception):
    """The connection ended where an answer should have gone on."""


class Storm(threading.Thread):
    """`clients` clients that send `requests` requests in all, on a loop of this thread.

    Its counts and lists may be read on any thread while it runs.
    """

    def __init__(self, port: int, asks: Sequence[Ask], *, requests: int, clients: int) -> None:
        super().__init__(name="storm", daemon=True)
        self.port = port
        self.asks = asks
        self.clients = clients
        self.answered = 0
        self.retried = 0
        self.failures: list[Failure] = []
        self.versions: dict[bytes, int] = {}
        """How many answers came from each version of the application."""
        self.closed_politely = 0
        """How many connections ended by an answer that had said so."""
        self._left = requests

    def run(self) -> None:
        uvloop.run(self._all())

    async def _all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self.clients):
                group.create_task(_Client(self, number).send_all())

    def take(self) -> Ask | None:
        """Return the next request to send, if any are left."""
        if not self._left:
            return None
        self._left -= 1
        return self.asks[self._left % len(self.asks)]


class _Client:
    def __init__(self, storm: Storm, number: int) -> None:
        self.storm = storm
        self.number = number
        self.worker = 0
        self.used = False
        """Whether the connection has carried an answer."""
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def send_all(self) -> None:
        while (ask := self.storm.take()) is not None:
            try:
                async with asyncio.timeout(ANSWER_DEADLINE_S):
                    await self.send(ask)
                self.storm.answered += 1
            except (Closed, AssertionError, OSError, TimeoutError) as error:
                request = ask.request.partition(b"\r\n")[0].decode()
                failure = Failure(self.number, request, repr(error), self.worker)
                self.storm.failures.append(failure)
                await self.close()
        await self.close()

    async def send(self, ask: Ask) -> None:
        if self.reader is None:
            await self.connect()
        first = await self.exchange_begun(ask)
        if not first and self.used:
            self.storm.retried += 1
            await self.close()
            await self.connect()
            first = await self.exchange_begun(ask)
        if not first:
            raise Closed("the connection closed before the answer")
        await self.finish(first, ask)

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.storm.port)
        self.worker = 0
        self.used = False

    async def exchange_begun(self, ask: Ask) -> bytes:
        """Send a request and return the first bytes of its answer; none if the peer closed."""
        assert self.reader is not None
        assert self.writer is not None
        try:
            self.writer.write(ask.request)
            return await self.reader.read(65536)
        except ConnectionError:
            return b""

    async def finish(self, data: bytes, ask: Ask) -> None:
        """Read the rest of the answer, and judge it."""
        head, end, rest = data.partition(b"\r\n\r\n")
        while not end:
            head, end, rest = (data := data + await self.more()).partition(b"\r\n\r\n")
        head = head.lower()
        assert head.startswith(b"http/1.1 200 "), head + rest
        if b"\r\ntransfer-encoding: chunked" in head:
            while not rest.endswith(b"\r\n0\r\n\r\n"):
                rest += await self.more()
        else:
            length = re.search(rb"\r\ncontent-length: (\d+)", head)
            assert length is not None, head
            while len(rest) < int(length[1]):
                rest += await self.more()
        match = ask.body.search(rest)
        assert match is not None, rest
        self.worker = int(match["pid"])
        self.used = True
        version = match["version"]
        self.storm.versions[version] = self.storm.versions.get(version, 0) + 1
        if b"\r\nconnection: close" in head:
            self.storm.closed_politely += 1
            await self.close()

    async def more(self) -> bytes:
        assert self.reader is not None
        data = await self.reader.read(65536)
        if not data:
            raise Closed("the connection closed in the middle of an answer")
        return data

    async def close(self) -> None:
        writer, self.reader, self.writer = self.writer, None, None
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
