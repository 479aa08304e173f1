"""`emit`, `join_room` and the others, for handlers: of the client whose event it is.

Each needs the request context of an event, so is called on the handler's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import current_app, request

from flasknado.errors import ConfigurationError

if TYPE_CHECKING:
    from flasknado.socketio.extension import SocketIO
    from flasknado.socketio.room_names import Room


def emit(event: str, *args: Any, **kwargs: Any) -> None:
    """Emit an event to the client whose event is handled.

    With `broadcast=True` it goes to everybody in the namespace, with `to` to a room or another
    client. The namespace is that of the event. Otherwise as `SocketIO.emit`.
    """
    socketio, to, options = _addressed(kwargs)
    socketio.emit(event, *args, to=to, **options)


def send(message: Any, **kwargs: Any) -> None:
    """Send a message to the client whose event is handled; see `emit` and `SocketIO.send`."""
    socketio, to, options = _addressed(kwargs)
    socketio.send(message, to=to, **options)


def call(event: str, *args: Any, **kwargs: Any) -> Any:
    """Emit an event to a client, by default the one whose event is handled; return its answer.

    See `SocketIO.call`.
    """
    socketio, to, options = _addressed(kwargs)
    return socketio.call(event, *args, to=to, **options)


def _addressed(keywords: dict[str, Any]) -> tuple[SocketIO, Any, dict[str, Any]]:
    to = keywords.pop("to", None) or keywords.pop("room", None)
    keywords.pop("room", None)
    if to is None and not keywords.pop("broadcast", False):
        to = request.sid  # type: ignore[attr-defined]
    keywords.pop("broadcast", None)
    keywords.setdefault("namespace", request.namespace)  # type: ignore[attr-defined]
    return _socketio(), to, keywords


def join_room(room: Room, sid: str | None = None, namespace: str | None = None) -> None:
    """Put the client, or another one, in a room."""
    _socketio().server.enter_room(*_client(sid, namespace, room))


def leave_room(room: Room, sid: str | None = None, namespace: str | None = None) -> None:
    """Take the client, or another one, out of a room."""
    _socketio().server.leave_room(*_client(sid, namespace, room))


def close_room(room: Room, namespace: str | None = None) -> None:
    """Take everybody out of a room."""
    _socketio().server.close_room(room, namespace or request.namespace)  # type: ignore[attr-defined]


def rooms(sid: str | None = None, namespace: str | None = None) -> list[Room]:
    """Return the rooms of the client, or of another one of this process."""
    sid, _, namespace = _client(sid, namespace, None)
    return _socketio().server.rooms(sid, namespace)


def disconnect(
    sid: str | None = None,
    namespace: str | None = None,
    silent: bool = False,  # noqa: ARG001 (Flask-SocketIO has it, and does not use it)
) -> None:
    """Send the client, or another one, away from the namespace."""
    sid, _, namespace = _client(sid, namespace, None)
    _socketio().server.disconnect(sid, namespace)


def _client(sid: str | None, namespace: str | None, room: Room) -> tuple[str, Room, str]:
    current: Any = request
    return sid or current.sid, room, namespace or current.namespace


def _socketio() -> SocketIO:
    socketio: SocketIO | None = current_app.extensions.get("socketio")
    if socketio is None:
        raise ConfigurationError(
            f"the Flask application {current_app.name!r} has no Socket.IO: call "
            f"socketio.init_app(app) in its factory"
        )
    return socketio
