"""`Namespace`: the handlers of a namespace as the methods of a class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flasknado.socketio.handlers import DISCONNECT, takes
from flasknado.socketio.room_names import Room


class Namespace:
    """Handles the events of a namespace with methods: `on_connect`, `on_my_event`, ...

    An `error(exception)` method, if there is one, gets what a handler raises. An object serves
    all clients: keep nothing about one client in it. Its methods run on any thread.
    """

    def __init__(self, namespace: str | None = None) -> None:
        self.namespace = namespace or "/"
        self.socketio: Any = None
        """The `SocketIO` that it was registered with."""

    def _set_socketio(self, socketio: Any) -> None:
        self.socketio = socketio

    def _bound(self) -> Any:
        if self.socketio is None:
            raise RuntimeError("this namespace was not registered: socketio.on_namespace(...)")
        return self.socketio

    def trigger_event(self, event: str, *args: Any) -> Any:
        """Call the method for an event. May be overridden, to dispatch in another way.

        `args` begins with the client's `sid`.
        """
        handler: Callable[..., Any] | None = getattr(self, f"on_{event or ''}", None)
        if handler is None:
            return None
        if event == DISCONNECT and not takes(handler, args[1:]):
            args = args[:-1]
        try:
            return self._bound()._handle_event(handler, event, self.namespace, *args)
        except Exception as error:
            on_error = getattr(self, "error", None)
            if on_error is None:
                raise
            return on_error(error)

    def emit(
        self,
        event: str,
        data: Any = None,
        room: Any = None,
        include_self: bool = True,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
    ) -> None:
        """Emit an event in this namespace; see `SocketIO.emit`."""
        self._bound().emit(
            event,
            data,
            room=room,
            include_self=include_self,
            namespace=namespace or self.namespace,
            callback=callback,
        )

    def send(
        self,
        data: Any,
        room: Any = None,
        include_self: bool = True,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
    ) -> None:
        """Send a message in this namespace; see `SocketIO.send`."""
        self._bound().send(
            data,
            to=room,
            include_self=include_self,
            namespace=namespace or self.namespace,
            callback=callback,
        )

    def close_room(self, room: Room, namespace: str | None = None) -> None:
        """Take everybody out of a room of this namespace."""
        self._bound().close_room(room, namespace or self.namespace)

    def rooms(self, sid: str, namespace: str | None = None) -> list[Room]:
        """Return the rooms of a client in this namespace."""
        found: list[Room] = self._bound().server.rooms(sid, namespace or self.namespace)
        return found
