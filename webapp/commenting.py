"""Who is typing a comment, told over Socket.IO to those who read the post with an account.

A client connects to the namespace `/commenting` with `{"post": ID}`, says `typing` now and then,
and hears `typing` with the name of who does. Nothing of it is kept: it is for who is there.
"""

from __future__ import annotations

import time
from typing import Any

from flask import Flask, g, request

from flasknado.socketio import (
    ConnectionRefusedError,  # noqa: A004
    Namespace,
    SocketIO,
    emit,
    join_room,
    rooms,
)
from webapp.channels import may_read, post_channel
from webapp.identity import load_identity

NAMESPACE = "/commenting"
SAID_EVERY_S = 1.0
"""How often a client is listened to; what it says beyond that is dropped."""


def register(app: Flask) -> None:
    """Add Socket.IO to an application, for pages of its own."""
    SocketIO(app, transports=["websocket"]).on_namespace(Commenting(NAMESPACE))


class Commenting(Namespace):
    """The handlers; those of one client run one after the other."""

    def __init__(self, namespace: str) -> None:
        super().__init__(namespace)
        self._said_at: dict[str, float] = {}

    def on_connect(self, auth: Any) -> None:
        """Let a person in who may read the post."""
        if g.user is None:
            raise ConnectionRefusedError("Log in to see who is typing.")
        post_id = auth.get("post") if isinstance(auth, dict) else None
        if type(post_id) is not int or not may_read(post_channel(post_id)):
            raise ConnectionRefusedError("There is no such post.")
        join_room(post_channel(post_id))

    def on_typing(self) -> None:
        """Tell the others."""
        sid: str = request.sid  # type: ignore[attr-defined]
        now = time.monotonic()
        if now - self._said_at.get(sid, -SAID_EVERY_S) < SAID_EVERY_S:
            return
        self._said_at[sid] = now
        load_identity()
        if g.user is not None:
            posts = [room for room in rooms() if room != sid]
            emit("typing", g.user.username, to=posts, include_self=False)

    def on_disconnect(self) -> None:
        """Forget the client."""
        self._said_at.pop(request.sid, None)  # type: ignore[attr-defined]
