"""The text of live.js, as a server sends it."""

from __future__ import annotations

import functools
from pathlib import Path

MODULE = Path(__file__).parent / "static" / "live.js"
HEARTBEAT = b"heartbeatMs: 15_000,"
"""How often the server writes at least, as the module has it."""
MAX_AGE_S = 600
"""Short, because a page must not run the client of a server that is long gone."""
HEADERS = {
    "Content-Type": "text/javascript; charset=utf-8",
    "Cache-Control": f"public, max-age={MAX_AGE_S}",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


@functools.lru_cache(maxsize=8)
def source(heartbeat_s: float) -> bytes:
    """Return the module's text, with the heartbeat that this server keeps to."""
    told = f"heartbeatMs: {round(heartbeat_s * 1000)},".encode()
    return MODULE.read_bytes().replace(HEARTBEAT, told, 1)
