"""The numbers of Socket.IO, for `/-/metrics`. On the loop's thread."""

from __future__ import annotations

from collections import Counter

from flasknado.ops.metrics.model import COUNTER, GAUGE, Family, labelled, single
from flasknado.socketio.engineio.options import TRANSPORTS
from flasknado.socketio.engineio.server import Engine
from flasknado.socketio.server import Server


class SocketIOSource:
    """The numbers of one server; called about once a second."""

    def __init__(self, engine: Engine, server: Server) -> None:
        self._engine = engine
        self._server = server

    def __call__(self) -> list[Family]:
        sessions = Counter(session.transport for session in self._engine.sessions.values())
        shown = {transport: float(sessions[transport]) for transport in TRANSPORTS}
        stats = self._server.stats()
        gone = {reason: float(count) for reason, count in self._engine.gone.items()}
        return [
            labelled(GAUGE, "socketio_sessions", "Socket.IO connections.", "transport", shown),
            single(
                GAUGE,
                "socketio_clients",
                "Socket.IO clients; one for each namespace of a connection.",
                stats["clients"],
            ),
            labelled(
                COUNTER,
                "socketio_disconnects",
                "Socket.IO clients that were disconnected.",
                "reason",
                gone,
            ),
            single(
                COUNTER,
                "socketio_events_received",
                "Events that Socket.IO clients sent.",
                stats["events_received_total"],
            ),
            single(
                COUNTER,
                "socketio_writes",
                "Writes of events to Socket.IO clients; several events may share one.",
                stats["writes_total"],
            ),
        ]
