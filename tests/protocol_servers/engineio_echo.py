"""An Engine.IO v4 server that echoes, for the protocol's public test suite.

    python -m tests.protocol_servers.engineio_echo [PORT [LAYER]]

The suite (github.com/socketio/socket.io, docs/engine.io-protocol/v4-test-suite: `npm ci && npm
test`) expects it on port 3000. LAYER is llhttp (on uvloop) or tornado.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tornado.routing import URLSpec

from flasknado import HTTPServer
from flasknado.live.origins import OriginPolicy
from flasknado.socketio.engineio.direct import DirectRequests
from flasknado.socketio.engineio.handler import EngineHandler
from flasknado.socketio.engineio.options import EngineOptions
from flasknado.socketio.engineio.packet import Data, Outgoing
from flasknado.socketio.engineio.server import Engine
from flasknado.socketio.engineio.session import Session
from tests.protocol_servers.running import run

PING_INTERVAL_S, PING_TIMEOUT_S = 0.3, 0.2
"""What the suite expects."""


class Echo:
    """Sends every message back as it came."""

    def opened(self, session: Session) -> None:
        """Nothing is kept of a client."""

    def received(self, session: Session, data: Data) -> None:
        session.send(Outgoing((data,)))

    def closed(self, session: Session, reason: str) -> None:
        """Nothing was kept."""

    def is_over(self, session: Session, age_s: float) -> bool:
        return False


MEMBERS = {"policy": OriginPolicy(["*"])}  # pages of any origin


def server(
    layer: str = "llhttp",
    ping_interval_s: float = PING_INTERVAL_S,
    ping_timeout_s: float = PING_TIMEOUT_S,
) -> HTTPServer:
    """Return a server that echoes; on the loop that will run it."""
    options = EngineOptions(
        ping_interval_s=ping_interval_s, ping_timeout_s=ping_timeout_s, max_payload_bytes=1_000_000
    )
    engine = Engine(options, asyncio.get_running_loop(), Echo())
    arguments: dict[str, Any] = {"find_engine": lambda _: engine}
    direct = DirectRequests(lambda: engine, lambda _: False)
    handler = type("EchoHandler", (EngineHandler,), {**MEMBERS, "serve_direct": direct.serve})
    route = URLSpec(r"/engine\.io/?", handler, arguments)
    echo_server = HTTPServer(None, handlers=[route], http=layer)
    echo_server.add_drain_callback(engine.drain)
    echo_server.add_close_callback(engine.close)
    return echo_server


if __name__ == "__main__":
    run(server)
