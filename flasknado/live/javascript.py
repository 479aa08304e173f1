"""The text of live.js, as a server sends it."""

from __future__ import annotations

import functools
import gzip
from pathlib import Path

from flasknado.live.compression import accepts_gzip

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


def answer_to(accept_encoding: str, heartbeat_s: float) -> tuple[bytes, dict[str, str]]:
    """Return the module and its header fields, compressed for clients that take it.

    Nothing in it is secret, and it is compressed once, so it costs nothing to send a third.

    Args:
        accept_encoding: the request's `Accept-Encoding`, empty if there is none.
        heartbeat_s: the heartbeat that this server keeps to.
    """
    fields = {**HEADERS, "Vary": "Origin, Accept-Encoding"}
    if not accepts_gzip(accept_encoding):
        return source(heartbeat_s), fields
    return compressed(heartbeat_s), {**fields, "Content-Encoding": "gzip"}


@functools.lru_cache(maxsize=8)
def source(heartbeat_s: float) -> bytes:
    """Return the module's text, with the heartbeat that this server keeps to."""
    told = f"heartbeatMs: {round(heartbeat_s * 1000)},".encode()
    return MODULE.read_bytes().replace(HEARTBEAT, told, 1)


@functools.lru_cache(maxsize=8)
def compressed(heartbeat_s: float) -> bytes:
    """Return the module's text in gzip: the same bytes, so the same ETag, in all workers."""
    return gzip.compress(source(heartbeat_s), 9, mtime=0)
