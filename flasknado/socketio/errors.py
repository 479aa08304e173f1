"""The exceptions of Socket.IO."""

from __future__ import annotations

import builtins
from typing import Any

from flasknado.errors import FlasknadoError


class SocketIOError(FlasknadoError):
    """Base class of the exceptions of `flasknado.socketio`."""


class ConnectionRefusedError(  # noqa: A001 (Flask-SocketIO's name)
    SocketIOError, builtins.ConnectionRefusedError
):
    """Raise it in a connect handler to refuse a client.

    The first argument becomes the `message` of the client's error, what follows its `data`.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.error_args: dict[str, Any] = {
            "message": str(args[0]) if args else "Connection rejected by server"
        }
        if len(args) == 2:
            self.error_args["data"] = args[1]
        elif len(args) > 2:
            self.error_args["data"] = list(args[1:])


class CallTimeout(SocketIOError, TimeoutError):
    """A client did not acknowledge an event in time."""


class BacklogFull(SocketIOError):
    """So many events wait to be delivered that no more are taken; try again later."""
