"""Why a client is gone, in Flask-SocketIO's words. Pure."""

from __future__ import annotations

from typing import Final


class Reason:
    """What a disconnect handler is told."""

    SERVER_DISCONNECT: Final = "server disconnect"
    CLIENT_DISCONNECT: Final = "client disconnect"
    PING_TIMEOUT: Final = "ping timeout"
    TRANSPORT_CLOSE: Final = "transport close"
    TRANSPORT_ERROR: Final = "transport error"
