"""What a server and a test client need of a `SocketIO`."""

from __future__ import annotations

from typing import Protocol

from flasknado.live.state import LiveState
from flasknado.socketio.core import Core
from flasknado.socketio.emitter import Emitter
from flasknado.socketio.options import SocketIOOptions


class Served(Protocol):
    """A `SocketIO` with an application."""

    server: Emitter

    @property
    def options(self) -> SocketIOOptions:
        """Its options."""

    @property
    def core(self) -> Core:
        """What calls its handlers."""

    @property
    def state(self) -> LiveState:
        """What keeps the log."""
