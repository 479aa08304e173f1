"""What `SocketIO` does for views, handlers, commands and threads: `socketio.server`.

Every method may be called on any thread. What concerns clients of this process is posted to the
loop that holds them, in the order of the calls; other processes are told through the log.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from flasknado.socketio.bus import CLOSE_ROOM, DISCONNECT, ENTER, LEAVE, Bus
from flasknado.socketio.client import Client
from flasknado.socketio.deliveries import Target
from flasknado.socketio.engineio.reason import Reason
from flasknado.socketio.errors import BacklogFull, CallTimeout, SocketIOError
from flasknado.socketio.message import Message, event_message
from flasknado.socketio.options import SocketIOOptions
from flasknado.socketio.room_names import Room, room_key, room_keys, sids_of

BACKLOG_BYTES = 8 * 1024 * 1024
"""How much may wait to be delivered before whoever emits has to wait."""
BACKLOG_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 60.0
MAX_ASKED = 1000
"""How many events may await answers from other processes; the oldest is given up for one more."""

Callback = Callable[..., Any]


class Emitter:
    """Emits, and moves clients, here and in other processes."""

    reason = Reason

    def __init__(self, options: SocketIOOptions, find_bus: Callable[[], Bus]) -> None:
        self.options = options
        self.servers: list[Any] = []
        """The servers of this process (`flasknado.socketio.server.Server`), one for each loop."""
        self._find_bus = find_bus
        self._asked: dict[int, Callback] = {}
        """What to call with the answers of other processes' clients, by number."""
        self._last_asked = 0
        self._lock = threading.Lock()

    @property
    def bus(self) -> Bus:
        """The way to the other processes; raises `ConfigurationError`."""
        return self._find_bus()

    @property
    def _in_test(self) -> bool:
        """Whether all clients here are test clients, so that there is nobody elsewhere."""
        return bool(self.servers) and all(server.runtime.is_direct for server in self.servers)

    # Events.

    def emit(
        self,
        event: str,
        *args: Any,
        namespace: str | None = None,
        to: Any = None,
        skip_sid: str | Iterable[str] | None = None,
        callback: Callback | None = None,
        durable: bool | None = None,
    ) -> None:
        """Emit an event; `SocketIO.emit` says what the arguments are."""
        namespace = namespace or "/"
        data = args[0] if len(args) == 1 else args
        arguments = list(data) if isinstance(data, tuple) else [data]
        if len(args) == 1 and args[0] is None:
            arguments = []
        message = event_message(self.options.parser, namespace, event, arguments)
        target = Target(namespace, room_keys(to), sids_of(skip_sid))
        if durable is None:
            durable = self.options.is_durable(namespace)
        if durable and callback is None:
            if not self.options.is_durable(namespace):
                raise SocketIOError(
                    f"clients of the namespace {namespace!r} cannot be recovered, so an event "
                    f"cannot be durable: name it in SocketIO(durable=[...])"
                )
            if not self._in_test:
                self._wait_for_room()
                self.bus.publish(target, message)
                return
        self._send(target, message, callback)

    def _send(self, target: Target, message: Message, callback: Callback | None) -> None:
        self._wait_for_room()
        for server in self.servers:
            server.runtime.post(server.deliver, target, message, callback)
        if self._concerns_others(target):
            asked = None if callback is None else self._ask(callback)
            self.bus.emit(target, message, asked)

    def _concerns_others(self, target: Target) -> bool:
        """Return whether clients of other processes may be among those who get an event."""
        if self._in_test:
            return False
        if target.keys is not None and all(self.client(key) is not None for key in target.keys):
            return False
        return self.bus.reaches_others

    def _ask(self, callback: Callback) -> int:
        with self._lock:
            self._last_asked += 1
            self._asked[self._last_asked] = callback
            if len(self._asked) > MAX_ASKED:
                del self._asked[next(iter(self._asked))]
            return self._last_asked

    def asked(self, number: int) -> Callback | None:
        """Return what is to be called with the answers of other processes' clients."""
        return self._asked.get(number)

    def _wait_for_room(self) -> None:
        """Wait while too much is on its way here; raises `BacklogFull`."""
        ends_at = None
        while any(server.deliveries.waiting_bytes > BACKLOG_BYTES for server in self.servers):
            now = time.monotonic()
            ends_at = now + BACKLOG_TIMEOUT_S if ends_at is None else ends_at
            if now > ends_at or any(server.runtime.is_own_thread() for server in self.servers):
                raise BacklogFull(
                    f"more than {BACKLOG_BYTES} bytes of events wait to be delivered: "
                    f"emit less, or later"
                )
            time.sleep(0.005)

    def send(self, data: Any, **options: Any) -> None:
        """Emit a `message` event."""
        self.emit("message", data, **options)

    def call(
        self,
        event: str,
        *args: Any,
        to: Any = None,
        namespace: str | None = None,
        timeout: float = CALL_TIMEOUT_S,
        **options: Any,
    ) -> Any:
        """Emit an event to one client and return its answer; raises `CallTimeout`.

        Not on an event loop's thread, which must not wait.
        """
        if to is None:
            raise ValueError("call() needs the sid of a client: to=request.sid")
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise SocketIOError("call() waits for a client, and an event loop must not wait")
        if not self.servers:
            raise SocketIOError("call() needs a server in its process, to hear the answer")
        from flasknado.socketio.server import Waiter

        answered = threading.Event()
        answers: list[tuple[Any, ...]] = []

        def take(*answer: Any) -> None:
            answers.append(answer)
            answered.set()

        self.emit(event, *args, to=to, namespace=namespace, callback=Waiter(take), **options)
        if not answered.wait(timeout):
            raise CallTimeout(f"the client did not answer {event!r} within {timeout:g} s")
        answer = answers[0]
        return None if not answer else answer[0] if len(answer) == 1 else answer

    # Clients and rooms.

    def client(self, sid: str, namespace: str | None = None) -> Client | None:
        """Return a client of this process."""
        for server in self.servers:
            client: Client | None = server.clients.get(sid)
            if client is not None and namespace in (None, client.namespace):
                return client
        return None

    def enter_room(self, sid: str, room: Room, namespace: str | None = None) -> None:
        """Put a client in a room."""
        client = self._of_request(sid, namespace) or self.client(sid, namespace or "/")
        if client is not None:
            client.server.runtime.post(client.server.join, client, client.enter(room))
        else:
            self.bus.tell(ENTER, sid=sid, namespace=namespace or "/", room=_told(room))

    def leave_room(self, sid: str, room: Room, namespace: str | None = None) -> None:
        """Take a client out of a room."""
        client = self._of_request(sid, namespace) or self.client(sid, namespace or "/")
        if client is not None:
            client.server.runtime.post(client.server.part, client, client.leave(room))
        else:
            self.bus.tell(LEAVE, sid=sid, namespace=namespace or "/", room=_told(room))

    def _of_request(self, sid: str, namespace: str | None) -> Client | None:
        """Return the client whose handler this is, which may have gone already."""
        from flask import has_request_context, request

        client: Client | None = (
            getattr(request, "socketio_client", None) if has_request_context() else None
        )
        if client is not None and client.sid == sid and namespace in (None, client.namespace):
            return client
        return None

    def close_room(self, room: Room, namespace: str | None = None) -> None:
        """Take everybody out of a room, in all processes."""
        key = room_key(room)
        for server in self.servers:
            server.runtime.post(server.close_room, namespace or "/", key)
        self.bus.tell(CLOSE_ROOM, namespace=namespace or "/", key=key)

    def rooms(self, sid: str, namespace: str | None = None) -> list[Room]:
        """Return the rooms of a client of this process, its own (`sid`) among them."""
        client = self._of_request(sid, namespace) or self.client(sid, namespace or "/")
        if client is None:
            return []
        return [sid, *(client.rooms or {}).values()]

    def disconnect(self, sid: str, namespace: str | None = None, **_: Any) -> None:
        """Send a client away from a namespace, in whatever process it is."""
        client = self.client(sid, namespace or "/")
        if client is not None:
            client.server.runtime.post(client.server.disconnect, client)
        else:
            self.bus.tell(DISCONNECT, sid=sid, namespace=namespace or "/")

    def transport(self, sid: str, namespace: str | None = None) -> str:
        """Return `polling` or `websocket`; raises `KeyError` for no client of this process."""
        client = self.client(sid, namespace or "/")
        if client is None:
            raise KeyError(sid)
        return client.connection.link.transport

    def get_environ(self, sid: str, namespace: str | None = None) -> dict[str, Any] | None:
        """Return the WSGI environ of the handshake of a client of this process."""
        from flasknado.native.in_flask import environ_of
        from flasknado.socketio.core import TestCaller

        client = self.client(sid, namespace or "/")
        if client is None:
            return None
        caller = client.connection.link.caller
        return caller.environ if isinstance(caller, TestCaller) else environ_of(caller)

    def start_background_task(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a function on a daemon thread of its own; returns the thread."""
        thread = threading.Thread(target=target, args=args, kwargs=kwargs, daemon=True)
        thread.start()
        return thread

    def sleep(self, seconds: float = 0) -> None:
        """Sleep; other threads run meanwhile."""
        time.sleep(seconds)


def _told(room: Room) -> str | int:
    if isinstance(room, (str, int)) and not isinstance(room, bool):
        return room
    raise SocketIOError(
        f"the client is of another process, which can be told only of rooms with text or a whole "
        f"number for a name, not {room!r}"
    )
