"""What a process keeps of a client: its connection, and itself in each namespace.

A `Connection` is one session of Engine.IO; a `Client` is one namespace of it, with a `sid` of
its own. Both belong to the loop's thread, except for what says otherwise.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from flasknado.socketio.engineio.packet import Outgoing
from flasknado.socketio.errors import SocketIOError
from flasknado.socketio.packet import Incomplete
from flasknado.socketio.room_names import Room, room_key

if TYPE_CHECKING:
    from flasknado.live.tickets import Identity

MAX_ROOMS = 1000
"""How many rooms a client may be in."""
PARSED_FACTOR = 16
"""How much larger the data of a packet is than its JSON, about; at worst sixty times."""
MAX_CALLBACKS = 1000
"""How many acknowledgements of one client are awaited; the oldest is given up for one more."""


class Link(Protocol):
    """The session below a connection."""

    address: str | None
    caller: Any
    paused: bool
    upper: Any

    @property
    def closed(self) -> bool: ...
    @property
    def transport(self) -> str: ...
    def send(self, message: Outgoing) -> None: ...
    def close(self, reason: str) -> None: ...
    def evict(self) -> None: ...
    def resume(self) -> None: ...


class JobKind(enum.Enum):
    """What the application is asked to do for a client."""

    CONNECT = enum.auto()
    EVENT = enum.auto()
    CALLBACK = enum.auto()
    DISCONNECT = enum.auto()


class Job(NamedTuple):
    """One call into the application, for a client."""

    kind: JobKind
    client: Client
    args: tuple[Any, ...] = ()
    ack_id: int | None = None
    callback: Callable[..., Any] | None = None
    size_bytes: int = 0
    """How large the packet was that asks for it."""


class Connection:
    """One client's connection, with all its namespaces."""

    __slots__ = (
        "clients",
        "connecting",
        "connects",
        "cookies",
        "incomplete",
        "jobs",
        "jobs_bytes",
        "link",
        "running",
        "taken_bytes",
    )

    def __init__(self, link: Link) -> None:
        self.link = link
        self.clients: dict[str, Client] = {}
        """By namespace."""
        self.connects = 0
        """How often it has connected to a namespace."""
        self.connecting: set[str] | None = None
        """The namespaces for which it is being found out what the client has missed."""
        self.incomplete: Incomplete | None = None
        """A packet whose attachments have not all come."""
        self.jobs: deque[Job] | None = None
        """What waits for the application, in order; taken out on the thread that runs it."""
        self.jobs_bytes = 0
        """How large their packets were, with those of the batch that a thread has at present."""
        self.taken_bytes = 0
        """How large those of that batch were; counted on its thread."""
        self.running = False
        """Whether a thread has them, or is about to."""
        self.cookies: dict[str, str | None] | None = None
        """The cookies that handlers have set, by saving the session, or deleted (`None`)."""

    @property
    def held_bytes(self) -> int:
        """About how much is held of what the client has sent."""
        incomplete = self.incomplete
        held_bytes = incomplete.size_bytes if incomplete is not None else 0
        return held_bytes + PARSED_FACTOR * self.jobs_bytes


class ClientState(enum.Enum):
    """How far a client has come."""

    PENDING = enum.auto()
    CONNECTED = enum.auto()
    GONE = enum.auto()


class Client:
    """One namespace of a connection."""

    __slots__ = (
        "callbacks",
        "connection",
        "identity",
        "kept_at",
        "last_ack_id",
        "missed",
        "namespace",
        "pending",
        "pending_bytes",
        "pid",
        "place",
        "recovered_of",
        "rooms",
        "server",
        "sid",
        "state",
    )

    def __init__(self, server: Any, connection: Connection, namespace: str, sid: str) -> None:
        self.server = server
        """The server that has it (`flasknado.socketio.server.Server`)."""
        self.connection = connection
        self.namespace = namespace
        self.sid = sid
        self.state = ClientState.PENDING
        self.pending: list[Outgoing] | None = None
        """What was sent before it was accepted."""
        self.missed = 0
        """How many of these it had missed while it was away."""
        self.pending_bytes = 0
        """About how large the others are."""
        self.rooms: dict[str, Room] | None = None
        """The rooms that it has entered, by their keys; changed on any thread."""
        self.callbacks: dict[int, Callable[..., Any]] | None = None
        """What to call with an acknowledgement, by its id."""
        self.last_ack_id = 0
        self.pid: str | None = None
        """By what it can be recovered after a short disconnection, if it can."""
        self.kept_at = 0.0
        """When its state was kept last, in seconds of `time.monotonic`."""
        self.place = 0
        """The offset up to which it has every durable event, as long as older ones may come."""
        self.recovered_of: tuple[str | None] | None = None
        """The user that it was, if it came back and was not asked again yet."""
        self.identity: Identity | None = None

    def enter(self, room: Room) -> str:
        """Note a room that it enters; returns the room's key. May be called on any thread."""
        key = room_key(room)
        if self.rooms is None:
            self.rooms = {}
        if len(self.rooms) >= MAX_ROOMS and key not in self.rooms:
            raise SocketIOError(f"a client may be in at most {MAX_ROOMS} rooms")
        self.rooms[key] = room
        return key

    def leave(self, room: Room) -> str:
        """Note a room that it leaves; returns the room's key. May be called on any thread."""
        key = room_key(room)
        if self.rooms is not None:
            self.rooms.pop(key, None)
        return key

    def expect(self, callback: Callable[..., Any]) -> int:
        """Return the id for an acknowledgement that `callback` is to be called with."""
        if self.callbacks is None:
            self.callbacks = {}
        elif len(self.callbacks) >= MAX_CALLBACKS:
            del self.callbacks[next(iter(self.callbacks))]
        self.last_ack_id += 1
        self.callbacks[self.last_ack_id] = callback
        return self.last_ack_id
