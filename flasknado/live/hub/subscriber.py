"""What the hub keeps of one live client: which channels, how far, and how to write to it.

Everything here belongs to the loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol

from tornado.iostream import IOStream, StreamClosedError

from flasknado.live.event import Cursor
from flasknado.live.formats import Format, GoAway
from flasknado.live.hub.catch_up import CatchUp
from flasknado.live.hub.grants import Grants
from flasknado.live.options import LiveOptions
from flasknado.live.tickets import NOBODY, Identity
from flasknado.native.iostream import TransportStream

STALLED_BEATS = 2
"""After how many heartbeat intervals a client that takes no bytes at all is disconnected."""
LEAST_USER_TIMEOUT_S = 5.0
"""The shortest time after which the system gives up a client that acknowledges nothing."""
GOODBYE_TIMEOUT_S = 5.0
"""How long a client that is sent away may take to read what was written."""


class Subscriber(ABC):
    """One live client. `format` is how events are written for it."""

    __slots__ = (
        "address",
        "beat_slot",
        "catch_up",
        "channels",
        "digest",
        "expires_at",
        "format",
        "generation",
        "gone",
        "grants",
        "info_json",
        "place",
        "session_id",
        "user",
    )

    transport: ClassVar[str] = "other"
    """What the metrics call its kind."""

    def __init__(
        self, wire_format: Format, identity: Identity = NOBODY, address: str | None = None
    ) -> None:
        self.format = wire_format
        self.expires_at = identity.expires_at
        self.become(identity)
        self.address = address
        self.channels: tuple[str, ...] = ()
        self.place: int | None = None
        """Up to where it had everything when it joined the live flow, or was last written to
        since; `None` before. It has what the hub has delivered to all, too."""
        self.catch_up: CatchUp | None = None
        self.grants: Grants | None = None
        """What it may read of the patterns that it follows, if it follows some."""
        self.digest: str | None = None
        """That of its connection's id, if it has told one: it gets nothing that it has caused for
        others."""
        self.gone = False
        """True once the hub has removed it."""
        self.beat_slot = 0

    @property
    def identity(self) -> Identity:
        """Who it is of, and until when."""
        return Identity.of(
            self.user, self.expires_at, self.generation, self.session_id, self.info_json
        )

    def become(self, identity: Identity) -> None:
        """Note who it is of; not until when."""
        self.user = identity.user
        self.generation = identity.generation
        self.session_id = identity.session_id
        self.info_json = identity.info_json

    @property
    def idle(self) -> bool:
        """Whether it has taken all that was written, so that more may be read for it."""
        return True

    @property
    def asked_at(self) -> float | None:
        """Since when something that it has asked for is being done, by the loop's clock."""
        return None

    @abstractmethod
    def send(self, data: bytes, cursor: Cursor) -> None:
        """Write frames without waiting; afterwards it has everything up to `cursor`."""

    @abstractmethod
    def beat(self, data: bytes | None) -> None:
        """Note that a heartbeat interval has passed; `data` is the heartbeat, if there is one."""

    @abstractmethod
    def go_away(self, notice: GoAway) -> None:
        """Tell it to reconnect, and end; the hub has removed it."""

    @abstractmethod
    def kick(self) -> None:
        """End because its access has ended; the hub has removed it."""

    @abstractmethod
    def abort(self) -> None:
        """End at once; the hub has removed it."""

    def pinged(self) -> None:  # noqa: B027 (most have no pings)
        """Note that a heartbeat is among what is sent, outside the beats."""

    def give_up(self, reason: str) -> None:  # noqa: ARG002
        """End because it does not do its part; the hub has removed it."""
        self.abort()


class Keeper(Protocol):
    """What a subscriber on a stream needs of its hub."""

    loop: asyncio.AbstractEventLoop
    options: LiveOptions

    def remove(self, subscriber: Subscriber) -> None:
        """Forget a client; may be called again."""

    def evict(self, subscriber: Subscriber) -> None:
        """Disconnect a client that does not read."""

    def drained(self, subscriber: Subscriber) -> None:
        """Note that a client has taken all that was written to it."""


class StreamSubscriber(Subscriber):
    """A client on a byte stream of its own, detached from its HTTP request.

    What is written while the stream is busy waits here, and goes out as one write when
    the stream is free. Above the backlog limit the client is disconnected.
    """

    __slots__ = (
        "_backlog_bytes",
        "_ending",
        "_hub",
        "_stalled_beats",
        "_stream",
        "_taken_bytes",
        "_waiting",
    )

    _stream: IOStream

    def __init__(
        self,
        hub: Keeper,
        wire_format: Format,
        identity: Identity = NOBODY,
        address: str | None = None,
    ) -> None:
        super().__init__(wire_format, identity, address)
        self._hub = hub
        self._waiting: list[bytes] | None = None
        """What waits for the write under way; `None` while none is."""
        self._backlog_bytes = 0
        self._ending = False
        self._stalled_beats = 0
        self._taken_bytes = 0

    def attach(self, stream: IOStream) -> None:
        """Take the stream to write to."""
        self._stream = stream
        stream.set_nodelay(True)
        limit_s = max(STALLED_BEATS * self._hub.options.heartbeat_s, LEAST_USER_TIMEOUT_S)
        _give_up_unacknowledged(stream.socket, limit_s)

    def leave(self) -> None:
        """Have the hub forget this client; may be called again."""
        self._hub.remove(self)

    @property
    def idle(self) -> bool:
        return self._waiting is None

    @property
    def backlog_bytes(self) -> int:
        """How many bytes the client has not taken."""
        return self._backlog_bytes

    def send(self, data: bytes, cursor: Cursor) -> None:  # noqa: ARG002
        if self._waiting is None:
            self._write_now(data)
        else:
            self.write(data)

    def write(self, data: bytes) -> None:
        """Write bytes without waiting; disconnects a client that has too many unread."""
        if self._waiting is None:
            self._write_now(data)
            return
        self._backlog_bytes += len(data)
        if self._backlog_bytes > self._hub.options.backlog_limit_bytes:
            self._hub.evict(self)
            return
        self._waiting.append(data)

    def _write_now(self, data: bytes) -> None:
        stream: Any = self._stream
        written: asyncio.Future[None] | None
        try:
            # Tornado's own stream makes a future for each write.
            written = (stream.push if type(stream) is TransportStream else stream.write)(data)
        except StreamClosedError:
            self._hub.remove(self)
            return
        if written is None:
            return
        if written.done():
            self._backlog_bytes = 0
            if written.exception() is not None:
                self._hub.remove(self)
        else:
            self._backlog_bytes = len(data)
            self._waiting = []
            written.add_done_callback(self._on_written)

    def _on_written(self, written: asyncio.Future[None]) -> None:
        waiting = self._waiting
        self._waiting = None
        if written.cancelled() or written.exception() is not None:
            self._hub.remove(self)
            return
        if waiting:
            self._write_now(b"".join(waiting))
        if self._waiting is None:
            self._backlog_bytes = 0
            if self._ending:
                self._stream.close()
            else:
                self._hub.drained(self)

    def beat(self, data: bytes | None) -> None:
        if self._stalls():
            self._hub.evict(self)
        elif data and self._waiting is None:
            self.write(data)

    def _stalls(self) -> bool:
        """Return whether it has taken nothing of what waits for it, for too many heartbeats."""
        taken_bytes = _taken_bytes(self._stream)
        took = taken_bytes != self._taken_bytes
        self._taken_bytes = taken_bytes
        if took or not self._stream.writing():
            self._stalled_beats = 0
        else:
            self._stalled_beats += 1
        return self._stalled_beats >= STALLED_BEATS

    def go_away(self, notice: GoAway) -> None:
        self.end(self.format.closing(notice))

    def kick(self) -> None:
        self.end(self.format.ended())

    def end(self, last: bytes) -> None:
        """Write the last bytes and close once the client has them, or after a while."""
        self._ending = True
        self.write(last)
        if self._waiting is None:
            self._stream.close()
        else:
            self._hub.loop.call_later(GOODBYE_TIMEOUT_S, self.abort)

    def abort(self) -> None:
        # As an error, so that no layer waits for the client to take what was written.
        error = StreamClosedError()
        self._stream.close((StreamClosedError, error, None))


def _taken_bytes(stream: Any) -> int:
    """Return how many bytes the system has taken of what was written."""
    if type(stream) is TransportStream:
        return stream.taken_bytes
    taken_bytes: int = stream._total_write_done_index
    return taken_bytes


def _give_up_unacknowledged(sock: Any, limit_s: float) -> None:
    """Have the system end a connection whose other end acknowledges nothing (RFC 5482)."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None or sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with contextlib.suppress(OSError):  # it has closed
        sock.setsockopt(socket.IPPROTO_TCP, option, round(limit_s * 1000))
