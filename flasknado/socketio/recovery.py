"""Connection state recovery: a client that was away for a moment gets what it missed.

As socket.io-client 4 expects it. In a durable namespace the answer to CONNECT has a `pid`, and
the last argument of every event is an offset, here a cursor of the log. A client that comes back
says both, and gets its `sid`, its rooms, and the durable events that it has missed, in order and
none twice. The `pid` itself says where the log was at CONNECT, so a client can come back that was
sent nothing before it was cut off.

What is kept of a client (its `sid`, rooms and user) is the newest buffered event of a channel
named after the `pid`, so any process takes it back. On the loop's thread.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from flasknado.live.errors import InvalidCursor
from flasknado.live.event import Cursor, Event, parse_cursor
from flasknado.live.formats import Format, GoAway
from flasknado.live.hub.hub import Hub
from flasknado.live.hub.subscriber import Subscriber
from flasknado.socketio.bus import Bus, Told, message_of, target_of, told_of
from flasknado.socketio.client import Client, Connection
from flasknado.socketio.engineio.ids import new_id
from flasknado.socketio.engineio.packet import Outgoing
from flasknado.socketio.options import SocketIOOptions
from flasknado.socketio.room_names import Room, room_key
from flasknado.socketio.runtime import Runtime

log = logging.getLogger("flasknado.socketio")

MAX_PID_CHARS = 128
MAX_MISSED_BYTES = 1024 * 1024
MAX_MISSED_EVENTS = 10_000
"""What a client may have missed; with more it begins anew."""
TIMEOUT_S = 10.0
"""How long reading the log for a client may take; then it begins anew."""
KEPT_SHARE = 3
"""What is kept of a client is written again after this share of the time for which it is kept."""

_EVENT, _RESET, _COMPLETE = b"e", b"r", b"c"


class Recovered(NamedTuple):
    """A client that came back, with what it has missed."""

    pid: str
    sid: str
    rooms: dict[str, Room]
    user: str | None
    place: int
    """The offset up to which it has, or is about to be sent, everything."""
    missed: list[Outgoing]


class Return(NamedTuple):
    """What a client says that comes back."""

    pid: str
    offset: Any


def taken_from(auth: Any) -> tuple[Return | None, Any]:
    """Return what a client says of its return, and what else it connects with."""
    if not isinstance(auth, dict) or not isinstance(auth.get("pid"), str):
        return None, auth
    rest = {key: value for key, value in auth.items() if key not in ("pid", "offset")}
    return Return(auth["pid"], auth.get("offset")), rest or None


class Recoveries:
    """What a server needs to take clients back."""

    def __init__(self, options: SocketIOOptions, hub: Hub, bus: Bus, runtime: Runtime) -> None:
        self._options = options
        self._hub = hub
        self._bus = bus
        self._runtime = runtime
        self._place: Cursor | None = None
        self._changed: set[Client] = set()

    def is_durable(self, namespace: str) -> bool:
        """Return whether clients of a namespace can be taken back."""
        return self._options.is_durable(namespace)

    # Where the log is.

    def advance(self, place: Cursor) -> None:
        """Note that everything up to a place is on its way to the clients."""
        self._place = place

    @property
    def place(self) -> Cursor:
        """Up to where everything is on its way to the clients."""
        place = self._place or self._hub.cursor
        return place if place is not None else Cursor("0", 0)

    def stamp(self, offset: int) -> str:
        """Return the cursor that is sent with an event: of its own, or of what came before it."""
        place = self.place
        return str(Cursor(place.epoch, offset) if offset else place)

    def new_pid(self) -> str:
        """Return a name for a client to come back with; nobody guesses it."""
        return f"{new_id()}.{self.place}"

    # What is kept of clients.

    def changed(self, client: Client) -> None:
        """Keep a client's present state, soon."""
        if not self._changed:
            self._runtime.soon(self._keep_changed)
        self._changed.add(client)

    def _keep_changed(self) -> None:
        clients, self._changed = self._changed, set()
        for client in clients:
            self.keep(client)

    def keep(self, client: Client) -> None:
        """Keep a client's present state."""
        user = client.identity.user if client.identity is not None else None
        rooms = [room for room in (client.rooms or {}).values() if isinstance(room, (str, int))]
        self._write(client, {"sid": client.sid, "rooms": rooms, "user": user})
        client.kept_at = time.monotonic()

    def forget(self, client: Client) -> None:
        """Keep nothing of a client any more: it does not come back."""
        self._write(client, {})

    def _write(self, client: Client, fields: dict[str, Any]) -> None:
        assert client.pid is not None
        try:
            self._bus.keep_session(client.pid, client.namespace, fields)
        except Exception as error:  # its connection is being closed, which has to go on
            log.warning("a Socket.IO client will not be recovered: %s", error)

    def refresh(self, client: Client) -> None:
        """Keep a client's state again before the log lets it go."""
        kept_s = self._hub.options.buffered_retention_s / KEPT_SHARE
        if time.monotonic() - client.kept_at > kept_s:
            self.changed(client)

    # Taking clients back.

    def begin(
        self,
        connection: Connection,
        namespace: str,
        said: Return,
        then: Callable[[Recovered | None], None],
    ) -> None:
        """Find out what a client has missed, and call `then`; with `None` if it begins anew."""
        start = _start_of(said)
        if start is None:
            then(None)
            return
        recovery = _Recovery(self, connection, namespace, said.pid, start, then)
        recovery.timer = self._hub.loop.call_later(TIMEOUT_S, recovery.give_up)
        if not self._runtime.run("the state of a Socket.IO client", recovery.read_session):
            recovery.give_up()


class _Recovery:
    """One client that comes back."""

    def __init__(
        self,
        recoveries: Recoveries,
        connection: Connection,
        namespace: str,
        pid: str,
        start: Cursor,
        then: Callable[[Recovered | None], None],
    ) -> None:
        self._hub = recoveries._hub
        self._bus = recoveries._bus
        self._runtime = recoveries._runtime
        self._parser = recoveries._options.parser
        self._connection = connection
        self._namespace = namespace
        self._pid = pid
        self._start = start
        self._then: Callable[[Recovered | None], None] | None = then
        self._kept: dict[str, Any] = {}
        self._rooms: dict[str, Room] = {}
        self._missed: list[Outgoing] = []
        self._missed_bytes = 0
        self._subscriber: _Reading | None = None
        self.timer: asyncio.TimerHandle | None = None

    def give_up(self) -> None:
        """Have the client begin anew, unless it has been dealt with."""
        self._end(None)

    def _end(self, recovered: Recovered | None) -> None:
        then, self._then = self._then, None
        if self.timer is not None:
            self.timer.cancel()
        if self._subscriber is not None:
            self._hub.unsubscribe(self._subscriber, self._subscriber.channels)
            self._subscriber.gone = True
            self._subscriber = None
        if then is not None and not self._connection.link.closed:
            then(recovered)

    def read_session(self) -> None:
        """Read what was kept of the client; on a thread."""
        kept: dict[str, Any] | None = None
        try:
            kept = self._bus.kept_session(self._pid, self._namespace)
        except Exception:
            log.exception("the state of a Socket.IO client could not be read")
        finally:
            self._runtime.post(self._read_missed, kept)

    def _read_missed(self, kept: dict[str, Any] | None) -> None:
        if self._then is None or not kept or self._connection.link.closed:
            self._end(None)
            return
        self._kept = kept
        self._rooms = {room_key(room): room for room in kept["rooms"]}
        keys = (None, kept["sid"], *self._rooms)
        channels = [self._bus.channel_of(self._namespace, key) for key in keys]
        self._subscriber = _Reading(self)
        self._hub.subscribe(self._subscriber, channels, self._start)

    def take(self, events: list[Told]) -> None:
        """Take events that the client has missed."""
        for told in events:
            target = target_of(told.fields)
            number = told.fields.get("number")
            sid = self._kept["sid"]
            if number is None or target.namespace != self._namespace or sid in target.skip:
                continue
            # In each of its rooms there is one; it gets the first that it may have.
            before = target.keys[:number] if target.keys is not None else ()
            if any(key == sid or key in self._rooms for key in before):
                continue
            stamp = str(Cursor(self._start.epoch, told.offset))
            message = message_of(self._parser, told.fields).stamped(stamp)
            self._missed.append(message)
            self._missed_bytes += message.size_bytes
        if self._missed_bytes > MAX_MISSED_BYTES or len(self._missed) > MAX_MISSED_EVENTS:
            log.info("a Socket.IO client has missed too much to be recovered")
            self._end(None)

    def complete(self, place: int) -> None:
        """Take the client back: everything up to a place has been read."""
        kept = self._kept
        self._end(Recovered(self._pid, kept["sid"], self._rooms, kept["user"], place, self._missed))


class _Reading(Subscriber):
    """Reads the log for a client, through the hub."""

    __slots__ = ("_recovery",)

    transport = "socketio-recovery"

    def __init__(self, recovery: _Recovery) -> None:
        super().__init__(_FORMAT)
        self._recovery = recovery

    def send(self, data: bytes, cursor: Cursor) -> None:
        lines = data.split(b"\n")[:-1]
        events = [json.loads(line[1:]) for line in lines if line.startswith(_EVENT)]
        told = [told_of(Event(*event)) for event in events]
        if any(line.startswith(_RESET) for line in lines):
            self._recovery.give_up()
            return
        self._recovery.take([one for one in told if one is not None])
        if any(line.startswith(_COMPLETE) for line in lines):
            self._recovery.complete(cursor.offset)

    def beat(self, data: bytes | None) -> None:
        """It has no heartbeat."""

    def go_away(self, notice: GoAway) -> None:  # noqa: ARG002
        self.abort()

    def kick(self) -> None:
        self.abort()

    def abort(self) -> None:
        self._recovery.give_up()


class _RecoveryFormat(Format):
    """One line for each thing that the hub tells."""

    def event(self, epoch: str, event: Event) -> bytes:  # noqa: ARG002
        return _EVENT + json.dumps(event).encode() + b"\n"

    def reset(self, cursor: Cursor) -> bytes:  # noqa: ARG002
        return _RESET + b"\n"

    def heartbeat(self, cursor: Cursor) -> bytes:  # noqa: ARG002
        return _COMPLETE + b"\n"

    def closing(self, notice: GoAway) -> bytes:  # noqa: ARG002
        return b""

    def ended(self) -> bytes:
        return b""


_FORMAT = _RecoveryFormat()


def _start_of(said: Return) -> Cursor | None:
    """Return after what a client wants everything; `None` if it does not make sense."""
    if len(said.pid) > MAX_PID_CHARS:
        return None
    try:
        start = parse_cursor(said.pid.rpartition(".")[2])
    except InvalidCursor:
        return None
    try:
        offset = parse_cursor(said.offset) if isinstance(said.offset, str) else start
    except InvalidCursor:
        return start
    # An offset of another log, or from before this `pid`, is left over from an earlier one.
    return max(offset, start) if offset.epoch == start.epoch else start
