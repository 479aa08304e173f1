"""Socket.IO with Flask-SocketIO's interface, on the event loop instead of threads.

    from flasknado.socketio import SocketIO, emit

    socketio = SocketIO(app)

    @socketio.on("message")
    def on_message(text):
        emit("reply", text)

`flasknado app:app` serves it at `/socket.io/`; nothing else is to be set. The names are imported
on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flasknado.exports import lazily

if TYPE_CHECKING:
    from flasknado.socketio.context import call as call
    from flasknado.socketio.context import close_room as close_room
    from flasknado.socketio.context import disconnect as disconnect
    from flasknado.socketio.context import emit as emit
    from flasknado.socketio.context import join_room as join_room
    from flasknado.socketio.context import leave_room as leave_room
    from flasknado.socketio.context import rooms as rooms
    from flasknado.socketio.context import send as send
    from flasknado.socketio.errors import BacklogFull as BacklogFull
    from flasknado.socketio.errors import CallTimeout as CallTimeout
    from flasknado.socketio.errors import (
        ConnectionRefusedError as ConnectionRefusedError,  # noqa: A004
    )
    from flasknado.socketio.errors import SocketIOError as SocketIOError
    from flasknado.socketio.extension import SocketIO as SocketIO
    from flasknado.socketio.namespace import Namespace as Namespace
    from flasknado.socketio.test_client import SocketIOTestClient as SocketIOTestClient

_HOMES = {
    "BacklogFull": "errors",
    "CallTimeout": "errors",
    "ConnectionRefusedError": "errors",
    "Namespace": "namespace",
    "SocketIO": "extension",
    "SocketIOError": "errors",
    "SocketIOTestClient": "test_client",
    "call": "context",
    "close_room": "context",
    "disconnect": "context",
    "emit": "context",
    "join_room": "context",
    "leave_room": "context",
    "rooms": "context",
    "send": "context",
}

__all__ = [
    "BacklogFull",
    "CallTimeout",
    "ConnectionRefusedError",
    "Namespace",
    "SocketIO",
    "SocketIOError",
    "SocketIOTestClient",
    "call",
    "close_room",
    "disconnect",
    "emit",
    "join_room",
    "leave_room",
    "rooms",
    "send",
]

if not TYPE_CHECKING:  # else every name would exist for type checkers
    __getattr__ = lazily(__name__, {name: f"{__name__}.{home}" for name, home in _HOMES.items()})
