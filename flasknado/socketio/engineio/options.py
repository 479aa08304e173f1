"""The settings of an Engine.IO server, with their units."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any, Final

POLLING: Final = "polling"
WEBSOCKET: Final = "websocket"
TRANSPORTS: Final = (POLLING, WEBSOCKET)


@dataclasses.dataclass(frozen=True, slots=True)
class EngineOptions:
    """See `flasknado.socketio.SocketIO` for what each means to a user."""

    ping_interval_s: float = 25.0
    ping_grace_s: float = 0.0
    """How much later than at the interval a ping may reach the client."""
    ping_timeout_s: float = 20.0
    max_payload_bytes: int = 1_000_000
    """The largest WebSocket message, and the largest body of a POST."""
    backlog_limit_bytes: int = 1024 * 1024
    """How much may wait for a client; with more it is disconnected."""
    max_sessions: int = 20_000
    max_per_address: int = 20_000
    allow_upgrades: bool = True
    transports: tuple[str, ...] = TRANSPORTS
    upgrade_timeout_s: float = 10.0
    cookie: Mapping[str, Any] | None = None
    """The attributes of the cookie with the session id, `name` among them."""
    compression_threshold_bytes: int | None = None
    """From what size on answers to polls are compressed; `None`: never."""

    @property
    def sweep_s(self) -> float:
        """How often pings and timeouts are looked after."""
        return min(1.0, max(0.02, min(self.ping_interval_s, self.ping_timeout_s) / 8))

    def handshake(self, sid: str, upgrades: bool) -> str:
        """Return what the open packet says, as JSON (protocol, section "Handshake")."""
        rest = _rest_of_handshake(
            upgrades and self.allows_upgrade,
            self.ping_interval_s + self.ping_grace_s,
            self.ping_timeout_s,
            self.max_payload_bytes,
        )
        return f'{{"sid":"{sid}",{rest}'

    @property
    def allows_upgrade(self) -> bool:
        """Whether a client of long-polling may go on over WebSocket."""
        return self.allow_upgrades and WEBSOCKET in self.transports


@functools.lru_cache(maxsize=16)
def _rest_of_handshake(upgrade: bool, interval_s: float, timeout_s: float, max_bytes: int) -> str:
    said = {
        "upgrades": [WEBSOCKET] if upgrade else [],
        "pingInterval": round(interval_s * 1000),
        "pingTimeout": round(timeout_s * 1000),
        "maxPayload": max_bytes,
    }
    return json.dumps(said, separators=(",", ":"))[1:]
