"""The Socket.IO server of one process: namespaces, rooms, and packets in and out.

It stands on Engine.IO sessions, asks the application through jobs, one after the other for each
connection, and delivers events to rooms. On the loop's thread, except for what says otherwise.
"""

from __future__ import annotations

import functools
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from flasknado.live.revocation import Revocation
from flasknado.live.tickets import NOBODY, Access, Identity
from flasknado.socketio import packet, recovery
from flasknado.socketio.bus import DISPLACE, Bus
from flasknado.socketio.client import Client, ClientState, Connection, Job, JobKind, Link
from flasknado.socketio.deliveries import Deliveries, Target
from flasknado.socketio.engineio.ids import new_id
from flasknado.socketio.engineio.packet import Data, Outgoing, ProtocolError
from flasknado.socketio.engineio.reason import Reason
from flasknado.socketio.handlers import CONNECT, DISCONNECT, Handlers
from flasknado.socketio.message import Farewell, Joined, Message
from flasknado.socketio.packet import Incomplete, Packet, Parser
from flasknado.socketio.recovery import Recovered, Recoveries
from flasknado.socketio.runtime import Runtime

log = logging.getLogger("flasknado.socketio")

MAX_NAMESPACES = 32
"""How many namespaces a connection may have."""
MAX_CONNECTS = 256
"""How often a connection may connect to namespaces, which may write to the log."""
MAX_JOBS = 64
"""How many events of one client may wait for the application; then it is not read."""
MAX_JOBS_BYTES = 64 * 1024
"""How large their packets may be together; parsed, they take many times as much."""
JOBS_PER_BATCH = 16
"""How many of them are dealt with before other clients have their turn."""
RECOVERABLE = frozenset((Reason.TRANSPORT_CLOSE, Reason.TRANSPORT_ERROR, Reason.PING_TIMEOUT))
"""Why a client may have gone that comes back."""
CONNECT_TIMEOUT_S = 45.0
"""How long a client may take until it connects to a namespace."""
PENDING_LIMIT = 1000
"""How many messages may wait for a client that has not been accepted yet."""

Callback = Callable[..., Any]

_NOT_ASKED = Access(NOBODY, 0.0)


class Application(Protocol):
    """What the server asks the application for."""

    handlers: Handlers
    parser: Parser
    always_connect: bool

    def asks(self, namespace: str, event: str) -> bool:
        """Return whether anything is to be done for a `connect` or `disconnect`."""

    def handle(self, connection: Connection, jobs: Iterator[Job]) -> None:
        """Do the jobs of a client; on a thread."""


class Waiter:
    """An acknowledgement that a thread waits for: called on the loop's thread itself."""

    def __init__(self, callback: Callback) -> None:
        self.callback = callback

    def __call__(self, *args: Any) -> None:
        self.callback(*args)


class Server:
    """The clients of one application on one event loop."""

    def __init__(self, application: Application, runtime: Runtime, bus: Bus) -> None:
        self.application = application
        self.runtime = runtime
        self.bus = bus
        self.clients: dict[str, Client] = {}
        """By `sid`. May be read on any thread."""
        self._members: dict[str, dict[Client, None]] = {}
        self._rooms: dict[tuple[str, str], dict[Client, None]] = {}
        self.deliveries = Deliveries(self._find, self._write_each, runtime.soon)
        self.recoveries: Recoveries | None = None
        """What takes clients back; `None`: nothing does."""
        self.upholds: Callable[[Access], bool] = lambda _: True
        """Whether access that the application gave has not been taken away since."""
        self.max_per_user: int | None = None
        """How many clients a user may have; `None`: as many as there may be."""
        self.pending_limit_bytes: int | None = None
        """How much may wait for a client that has not been accepted yet; `None`: anything."""
        self._of_user: Counter[str] = Counter()
        self._refused: deque[Connection] = deque()
        """Whose jobs the lane has not taken."""
        self.events_received = 0

    # What Engine.IO tells.

    def opened(self, link: Link) -> None:
        """A client has shaken hands."""
        link.upper = Connection(link)

    def received(self, link: Link, data: Data) -> None:
        """Take a message; raises `ProtocolError`."""
        connection: Connection = link.upper
        incomplete = connection.incomplete
        if incomplete is None:
            began = self.application.parser.begin(data)
            if isinstance(began, Incomplete):
                connection.incomplete = began
                return
            self._on_packet(connection, began, len(data))
            return
        whole = incomplete.add(data)
        if whole is not None:
            connection.incomplete = None
            self._on_packet(connection, whole, incomplete.size_bytes)

    def closed(self, link: Link, reason: str) -> None:
        """Let go of all namespaces of a client."""
        connection: Connection = link.upper
        connection.incomplete = None
        for client in list(connection.clients.values()):
            self._leave(client, reason)

    def is_over(self, link: Link, age_s: float) -> bool:
        """Return whether a client has no namespace, or its user's access has ended."""
        clients: dict[str, Client] = link.upper.clients
        if not clients:
            return age_s > CONNECT_TIMEOUT_S
        if self.recoveries is not None:
            for client in clients.values():
                if client.pid is not None and client.state is ClientState.CONNECTED:
                    self.recoveries.refresh(client)
        return any(map(has_expired, clients.values()))

    def begin_log(self) -> None:
        """Note that the log is another one now, so that offsets begin again."""
        for client in self.clients.values():
            client.place = 0

    def revoke(self, revocation: Revocation) -> None:
        """Disconnect a user's clients; those that may still connect come back.

        One for a single channel leaves them: rooms are no channels of the application.
        """
        if revocation.channel is not None:
            return
        for client in list(self.clients.values()):
            identity = client.identity
            if identity is not None and revocation.ends(identity):
                client.connection.link.close(Reason.SERVER_DISCONNECT)

    # Packets from clients.

    def _on_packet(self, connection: Connection, received: Packet, size_bytes: int) -> None:
        kind, namespace, data, ack_id = received
        client = connection.clients.get(namespace)
        if kind == packet.CONNECT:
            if client is not None or namespace in (connection.connecting or ()):
                raise ProtocolError("the client is in this namespace already")
            self._connect(connection, namespace, data)
        elif client is None or client.state is not ClientState.CONNECTED:
            # As in python-socketio: it may have been disconnected a moment ago.
            log.debug("a packet came for a namespace that its client is not in")
        elif has_expired(client):
            connection.link.close(Reason.SERVER_DISCONNECT)
        elif kind == packet.EVENT:
            self.events_received += 1
            self._ask(Job(JobKind.EVENT, client, tuple(data), ack_id, size_bytes=size_bytes))
        elif kind == packet.ACK:
            assert ack_id is not None
            self._acknowledge(client, ack_id, data, size_bytes)
        else:
            self._leave(client, Reason.CLIENT_DISCONNECT)

    def _connect(self, connection: Connection, namespace: str, auth: Any) -> None:
        connection.connects += 1
        if connection.connects > MAX_CONNECTS:
            raise ProtocolError("a connection connects to namespaces again and again")
        refusal = None
        if not self.application.handlers.accepts(namespace):
            refusal = "Invalid namespace"
        elif len(connection.clients) + len(connection.connecting or ()) >= MAX_NAMESPACES:
            refusal = f"a connection may have at most {MAX_NAMESPACES} namespaces"
        if refusal is not None:
            self._send_error(connection, namespace, {"message": refusal})
            return
        recoveries = self.recoveries
        if recoveries is None or not recoveries.is_durable(namespace):
            self._admit(connection, namespace, auth)
            return
        said, auth = recovery.taken_from(auth)
        if said is None:
            self._admit(connection, namespace, auth)
            return
        if connection.connecting is None:
            connection.connecting = set()
        connection.connecting.add(namespace)

        def admit(recovered: Recovered | None) -> None:
            if connection.connecting is not None:
                connection.connecting.discard(namespace)
            self._admit(connection, namespace, auth, recovered)

        recoveries.begin(connection, namespace, said, admit)

    def _admit(
        self,
        connection: Connection,
        namespace: str,
        auth: Any,
        recovered: Recovered | None = None,
    ) -> None:
        """Ask the application about a client, a new one or one that came back."""
        if recovered is None:
            client = Client(self, connection, namespace, new_id())
            if self.recoveries is not None and self.recoveries.is_durable(namespace):
                client.pid = self.recoveries.new_pid()
        else:
            client = Client(self, connection, namespace, recovered.sid)
            client.pid = recovered.pid
            client.rooms = dict(recovered.rooms)
            client.place = recovered.place
            client.pending = recovered.missed
            client.missed = len(recovered.missed)
            client.recovered_of = (recovered.user,)
            self._displace(client)
            self.bus.tell(DISPLACE, sid=client.sid, namespace=namespace)
        self.enter(client)
        if self.application.always_connect and recovered is None:
            self._welcome(client)
        if self.application.asks(namespace, CONNECT):
            self._ask(Job(JobKind.CONNECT, client, (auth,)))
        else:
            self.accept(client, _NOT_ASKED)

    def _displace(self, client: Client) -> None:
        """Let go of what a client was before it came back, which may not have been noticed yet."""
        before = self.clients.get(client.sid)
        if before is not None:
            self._forget(before)
            # Before it connects again, so that the application hears of both in order.
            gone = Job(JobKind.DISCONNECT, before, (Reason.TRANSPORT_CLOSE,))
            self._ask(gone, client.connection)
            before.connection.link.close(Reason.TRANSPORT_CLOSE)

    def displaced(self, client: Client) -> None:
        """Let go of a client that has come back to another process."""
        client.pid = None  # its state is that process's now
        client.connection.link.close(Reason.TRANSPORT_CLOSE)

    def enter(self, client: Client) -> None:
        """Count a client in."""
        client.connection.clients[client.namespace] = client
        self.clients[client.sid] = client
        self._members.setdefault(client.namespace, {})[client] = None
        for key in client.rooms or ():
            self._rooms.setdefault((client.namespace, key), {})[client] = None

    def _send_error(self, connection: Connection, namespace: str, error: dict[str, Any]) -> None:
        connection.link.send(self._message(Packet(packet.CONNECT_ERROR, namespace, error)))

    def _message(self, sent: Packet) -> Message:
        return Message(self.application.parser, sent)

    def _acknowledge(self, client: Client, ack_id: int, args: list[Any], size_bytes: int) -> None:
        callback = client.callbacks.pop(ack_id, None) if client.callbacks else None
        if callback is None:
            log.debug("an acknowledgement came that nobody awaits")
        elif isinstance(callback, Waiter):
            callback(*args)
        else:
            job = Job(
                JobKind.CALLBACK, client, tuple(args), callback=callback, size_bytes=size_bytes
            )
            self._ask(job)

    # Jobs for the application.

    def _ask(self, job: Job, connection: Connection | None = None) -> None:
        asks = self.application.asks
        if job.kind is JobKind.DISCONNECT and not asks(job.client.namespace, DISCONNECT):
            return
        connection = connection or job.client.connection
        if connection.jobs is None:
            connection.jobs = deque()
        connection.jobs.append(job)
        connection.jobs_bytes += job.size_bytes
        if len(connection.jobs) >= MAX_JOBS or connection.jobs_bytes >= MAX_JOBS_BYTES:
            connection.link.paused = True
        if not connection.running:
            connection.running = True
            self._start(connection)

    def _start(self, connection: Connection) -> None:
        run = functools.partial(self._run, connection)
        if not self.runtime.run("a Socket.IO event", run):
            self._refused.append(connection)

    def _run(self, connection: Connection) -> None:
        """Do some jobs of a connection; on a thread."""
        try:
            self.application.handle(connection, _taken(connection))
        finally:
            self.runtime.post(self._ran, connection)

    def _ran(self, connection: Connection) -> None:
        jobs = connection.jobs
        connection.jobs_bytes -= connection.taken_bytes
        connection.taken_bytes = 0
        if jobs:
            self._start(connection)
        else:
            connection.running = False
            connection.jobs = None
        few = not jobs or len(jobs) <= MAX_JOBS // 2
        if connection.link.paused and few and connection.jobs_bytes <= MAX_JOBS_BYTES // 2:
            connection.link.resume()
        while self._refused:
            waiting = self._refused.popleft()
            before = len(self._refused)
            self._start(waiting)
            if len(self._refused) > before:
                break

    def accept(self, client: Client, access: Access) -> None:
        """Take a client that the application has let in, unless its user is revoked meanwhile."""
        if client.state is not ClientState.GONE and not self._count(client, access.identity):
            said = (
                f"you have {self.max_per_user} clients, as many as a user may (LIVE_MAX_PER_USER)"
            )
            self.refuse(client, {"message": said})
            self._ask(Job(JobKind.DISCONNECT, client, (Reason.SERVER_DISCONNECT,)))
            return
        if client.state is not ClientState.GONE and not self.upholds(access):
            client.connection.link.close(Reason.SERVER_DISCONNECT)
        if client.recovered_of not in (None, (access.identity.user,)):
            # What it missed was another user's: it connects again, and begins anew.
            client.connection.link.close(Reason.SERVER_DISCONNECT)
        client.recovered_of = None
        if client.state is ClientState.PENDING:
            self._welcome(client)
        elif client.state is ClientState.GONE and not self.application.always_connect:
            # It has gone meanwhile; what the application did for it has its counterpart.
            self._ask(Job(JobKind.DISCONNECT, client, (Reason.TRANSPORT_CLOSE,)))

    def _count(self, client: Client, identity: Identity) -> bool:
        """Note whose client it is; returns false if that user has as many as may be."""
        user = identity.user
        if user is None:
            return True
        if self.max_per_user is not None and self._of_user[user] >= self.max_per_user:
            return False
        self._of_user[user] += 1
        client.identity = identity
        return True

    def _welcome(self, client: Client) -> None:
        said = {"sid": client.sid}
        if client.pid is not None:
            said["pid"] = client.pid
        client.state = ClientState.CONNECTED
        client.connection.link.send(self._message(Packet(packet.CONNECT, client.namespace, said)))
        if client.pid is not None and self.recoveries is not None:
            self.recoveries.changed(client)
        pending, client.pending = client.pending, None
        for message in pending or ():
            client.connection.link.send(message)

    def refuse(self, client: Client, error: dict[str, Any]) -> None:
        """Send away a client that the application has not let in."""
        connected = client.state is ClientState.CONNECTED
        if client.state is ClientState.GONE:
            return
        self._forget(client)
        if connected:
            sent = self._message(Packet(packet.DISCONNECT, client.namespace))
            client.connection.link.send(sent)
        else:
            self._send_error(client.connection, client.namespace, error)

    def reply(self, client: Client, message: Message) -> None:
        """Send an acknowledgement, behind what was sent before it."""
        self.deliveries.add(Target(client.namespace, (client.sid,)), message)

    # The end of a client.

    def disconnect(self, client: Client, reason: str = Reason.SERVER_DISCONNECT) -> None:
        """Send a client away from its namespace, behind what was sent to it before."""
        if client.state is not ClientState.GONE:
            sent = Farewell(self.application.parser, client.namespace, reason)
            self.deliveries.add(Target(client.namespace, (client.sid,)), sent)

    def _changed(self, client: Client) -> None:
        recoveries = self.recoveries
        known = client.pid is not None and client.state is ClientState.CONNECTED
        if recoveries is not None and known:
            recoveries.changed(client)

    def _leave(self, client: Client, reason: str) -> None:
        connected = client.state is ClientState.CONNECTED
        known = connected or client.recovered_of is not None
        if client.pid is not None and self.recoveries is not None and known:
            if reason in RECOVERABLE:
                self.recoveries.keep(client)
            else:
                self.recoveries.forget(client)
        self._forget(client)
        if connected:
            self._ask(Job(JobKind.DISCONNECT, client, (reason,)))

    def _forget(self, client: Client) -> None:
        user = None if client.identity is None else client.identity.user
        if user is not None and client.state is not ClientState.GONE:
            self._of_user[user] -= 1
            if not self._of_user[user]:
                del self._of_user[user]
        client.state = ClientState.GONE
        client.pending = None
        namespace = client.namespace
        if client.connection.clients.get(namespace) is client:
            del client.connection.clients[namespace]
        if self.clients.get(client.sid) is client:
            del self.clients[client.sid]
        _discard(self._members, namespace, client)
        for key in list(client.rooms or ()):
            _discard(self._rooms, (namespace, key), client)

    # Rooms.

    def join(self, client: Client, key: str) -> None:
        """Deliver what is sent to a room to a client, too."""
        if client.state is not ClientState.GONE and client.rooms and key in client.rooms:
            self.deliveries.settle(client.namespace, key)
            self._rooms.setdefault((client.namespace, key), {})[client] = None
        self._changed(client)

    def part(self, client: Client, key: str) -> None:
        """Deliver what is sent to a room to a client no more."""
        if not client.rooms or key not in client.rooms:
            self.deliveries.settle(client.namespace, key)
            _discard(self._rooms, (client.namespace, key), client)
        self._changed(client)

    def close_room(self, namespace: str, key: str) -> None:
        """Take everybody out of a room."""
        self.deliveries.settle(namespace, key)
        for client in self._rooms.pop((namespace, key), ()):
            if client.rooms is not None:
                client.rooms.pop(key, None)

    def _find(self, target: Target) -> Iterator[Client]:
        namespace, keys, skip = target
        found: dict[Client, None]
        if keys is None:
            found = self._members.get(namespace, {})
        else:
            found = {}
            for key in keys:
                client = self.clients.get(key)
                if client is not None and client.namespace == namespace:
                    found[client] = None
                room = self._rooms.get((namespace, key))
                if room:
                    # Most often one room is all.
                    found = room if not found and len(keys) == 1 else found | room
        return (c for c in found if c.sid not in skip) if skip else iter(found)

    # Events to clients.

    def deliver(self, target: Target, message: Message, callback: Callback | None = None) -> None:
        """Have an event written to its clients; `callback` is called with each answer."""
        recoveries = self.recoveries
        if callback is None:
            if recoveries is not None and recoveries.is_durable(target.namespace):
                message = message.stamped(recoveries.stamp(message.offset))
            self.deliveries.add(target, message)
            return
        for client in list(self._find(target)):
            asking = message.asking(client.expect(callback))
            self.deliveries.add(Target(client.namespace, (client.sid,)), asking)

    def _write_each(self, clients: Iterable[Client], message: Outgoing) -> int:
        written = 0
        connected = ClientState.CONNECTED
        is_event = not isinstance(message, Farewell)
        for client in clients:
            written += 1
            if is_event and client.state is connected and not client.place:
                client.connection.link.send(message)
            elif client.state is not ClientState.GONE:
                self._write(client, message)
        return written

    def _write(self, client: Client, message: Outgoing) -> None:
        if isinstance(message, Farewell):
            client.connection.link.send(message)
            self._leave(client, message.reason)
        elif client.place and self._has(client, message):
            pass
        elif client.state is ClientState.CONNECTED:
            client.connection.link.send(message)
        elif client.state is ClientState.PENDING:
            if client.pending is None:
                client.pending = []
            client.pending.append(message)
            client.pending_bytes += message.size_bytes
            limit_bytes = self.pending_limit_bytes
            if len(client.pending) - client.missed > PENDING_LIMIT or (
                limit_bytes is not None and client.pending_bytes > limit_bytes
            ):
                # Not dropped: a client that stays relies on having everything.
                client.connection.link.evict()

    def _has(self, client: Client, message: Outgoing) -> bool:
        """Return whether a client that came back was sent a message with what it had missed."""
        offset = getattr(message, "offset", 0)
        if not offset:
            return False
        if offset > client.place:
            if isinstance(message, Joined):
                for one in message.messages:
                    self._write(client, one)
                return True
            client.place = 0  # older ones come no more
            return False
        return True

    def stats(self) -> dict[str, Any]:
        """Return the gauges and counters."""
        return {
            "clients": len(self.clients),
            "rooms": len(self._rooms),
            "namespaces": {name: len(members) for name, members in self._members.items()},
            "events_received_total": self.events_received,
            "writes_total": self.deliveries.writes,
        }


def has_expired(client: Client) -> bool:
    """Return whether the access of a client's user has ended."""
    identity = client.identity
    expires_at = None if identity is None else identity.expires_at
    return expires_at is not None and expires_at <= time.time()


def _taken(connection: Connection) -> Iterator[Job]:
    """Take the next jobs of a connection, each when it is due; on the thread that does them."""
    for _ in range(JOBS_PER_BATCH):
        jobs = connection.jobs
        if not jobs:
            return
        job = jobs.popleft()
        connection.taken_bytes += job.size_bytes
        yield job


def _discard(groups: dict[Any, dict[Client, None]], key: Any, client: Client) -> None:
    group = groups.get(key)
    if group is not None:
        group.pop(client, None)
        if not group:
            del groups[key]
