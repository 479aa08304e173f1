"""Sockets of an attacker: many on one thread, each sending as fast as it is read, or slowly."""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import time
from collections.abc import Callable, Iterator

from tests.siege.attack import Report, Target

KEPT_BYTES = 256 * 1024
"""How much of what one connection was told is kept."""
HANDSHAKE = (
    b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n%b\r\n"
)
PATIENCE_S = 20.0
"""How much longer an attack may take on a busy machine until it has what it waits for."""
LOOK_S = 0.05
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
_STATUS = re.compile(rb"HTTP/1\.1 ([1-9][0-9]{2}) ")


def handshake(path: bytes = b"/live/socket", fields: bytes = b"") -> bytes:
    """Return the opening handshake of a WebSocket."""
    return HANDSHAKE % (path, fields)


def frame(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """Return a frame as a client writes it, masked by zeros, of at most 125 bytes."""
    return bytes((opcode | (0x80 if final else 0), 0x80 | len(payload))) + bytes(4) + payload


def subscribe(*channels: str) -> bytes:
    """Return the message that begins a live conversation."""
    names = ",".join(f'"{channel}"' for channel in channels)
    return frame(TEXT, b'{"type":"subscribe","channels":[%b]}' % names.encode())


def server_frames(data: bytes | bytearray) -> Iterator[tuple[int, bytes]]:
    """Yield opcode and payload of the whole frames that a server wrote behind its head."""
    at = data.find(b"\r\n\r\n") + 4
    while at >= 4 and len(data) >= at + 2:
        opcode, size, at = data[at] & 0x0F, data[at + 1] & 0x7F, at + 2
        if size > 125:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(data[at : at + width], "big"), at + width
        if len(data) < at + size:
            return
        yield opcode, bytes(data[at : at + size])
        at += size


def close_code(data: bytes | bytearray) -> int | None:
    """Return the code of a server's closing frame, if there is one."""
    for opcode, payload in server_frames(data):
        if opcode == CLOSE:
            return int.from_bytes(payload[:2], "big")
    return None


class Sender:
    """One connection: it sends `opening`, and then what `more(elapsed_s)` returns, again and again.

    `more` returns `None` when there is nothing to be sent at this moment.
    """

    def __init__(
        self,
        target: Target,
        opening: bytes,
        more: Callable[[float], bytes | None],
        *,
        reads: bool = True,
    ) -> None:
        self.sock = socket.socket()
        if not reads:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.connect(target.address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.heard = bytearray()
        self.open = True
        self.sent_bytes = 0
        self.reads = reads
        self._more = more
        self._began = time.monotonic()
        self._left = memoryview(opening)

    def write(self) -> bool:
        """Send as much as goes; returns whether there was anything to be sent."""
        if not self._left:
            piece = self._more(time.monotonic() - self._began)
            if piece is None:
                return False
            self._left = memoryview(piece)
        try:
            count = self.sock.send(self._left)
        except BlockingIOError:
            return False
        except OSError:
            if self.reads:
                self.read()
            self.open = False
            return False
        self.sent_bytes += count
        self._left = self._left[count:]
        return True

    def read(self) -> None:
        """Take what has come."""
        try:
            while data := self.sock.recv(256 * 1024):
                self.heard += data[: KEPT_BYTES - len(self.heard)]
        except BlockingIOError:
            return
        except OSError:
            pass
        self.open = False

    def answers(self) -> list[str]:
        """Return what the server answered: statuses, and how it ended."""
        head = self.heard[:20]
        found = [code.decode() for code in _STATUS.findall(self.heard)]
        if head.startswith(b"HTTP/1.1 101 "):
            code = close_code(self.heard)
            found = [f"close {code}"] if code is not None else []
        if not self.open and not found:
            found = ["closed"]
        return found


def endlessly(piece: bytes) -> Callable[[float], bytes | None]:
    """Return a `more` that never runs dry."""
    return lambda _elapsed_s: piece


def nothing(_elapsed_s: float) -> bytes | None:
    """Send no more."""
    return None


def dribbling(data: bytes, every_s: float, size: int = 1) -> Callable[[float], bytes | None]:
    """Return a `more` that gives `size` bytes of `data` each `every_s`, from its start again."""
    sent = 0

    def more(elapsed_s: float) -> bytes | None:
        nonlocal sent
        if elapsed_s < (sent + 1) * every_s:
            return None
        at = sent * size % len(data)
        sent += 1
        return data[at : at + size]

    return more


def all_closed(senders: list[Sender]) -> bool:
    """Return whether the server has closed every connection."""
    return not any(sender.open for sender in senders)


def any_answered(answer: str) -> Callable[[list[Sender]], bool]:
    """Return an `until`: somebody has got this answer."""
    return lambda senders: any(answer in sender.answers() for sender in senders)


def swarm(
    target: Target,
    seconds: float,
    make: Callable[[], tuple[bytes, Callable[[float], bytes | None]]],
    *,
    count: int = 1,
    again: bool = True,
    most: int = 5_000,
    reads: bool = True,
    until: Callable[[list[Sender]], bool] | None = None,
) -> tuple[Report, list[Sender]]:
    """Keep `count` connections sending for `seconds`; returns the report, and every connection.

    `make` returns what a new connection sends first, and what from then on. One that the server
    has closed is replaced if `again`, until there were `most`. Those that `reads` is false for
    are never read. With `until` it takes longer, `PATIENCE_S` at most, until that is true of all
    connections that there were; unless `again`, it ends as soon as it is.
    """
    report = Report()
    every: list[Sender] = []
    running: set[Sender] = set()
    ends = time.monotonic() + seconds
    poll_s = 0.002 if count < 10 else 0.01
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:

        def begin() -> None:
            try:
                sender = Sender(target, *make(), reads=reads)
            except OSError:
                report.answers["not connected"] += 1
                return
            stack.callback(sender.sock.close)
            if reads:
                selector.register(sender.sock, selectors.EVENT_READ, sender)
            every.append(sender)
            running.add(sender)

        def end(sender: Sender) -> None:
            running.discard(sender)
            if reads:
                selector.unregister(sender.sock)
            if not sender.open:
                sender.sock.close()

        for _ in range(count):
            begin()
        looked = 0.0
        while True:
            now = time.monotonic()
            if now >= ends + PATIENCE_S or (now >= ends and until is None):
                break
            if until is not None and now >= looked + LOOK_S and (now >= ends or not again):
                looked = now
                if until(every):
                    break
            wrote = False
            for sender in list(running):
                wrote |= sender.write()
                if not sender.open:
                    end(sender)
            if reads:
                for key, _events in selector.select(0 if wrote else poll_s):
                    key.data.read()
                    if not key.data.open:
                        end(key.data)
            elif not wrote:
                time.sleep(poll_s)
            if again and len(every) < most:
                for _ in range(count - len(running)):
                    begin()
        for sender in running if reads else ():
            sender.read()
    for sender in every:
        report.sent_bytes += sender.sent_bytes
        report.answers.update(sender.answers())
    return report, every
