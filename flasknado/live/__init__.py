"""Live events: published in a view's transaction, delivered to every subscriber in order.

    live = Live()
    live.init_app(app, db)

    @live.authorize
    def may_read(channel: str) -> bool: ...

    live.publish("posts", "post.created", {"id": 1})
    db.session.commit()

`Live` is the Flask side and imports neither Tornado nor the hub. `routes()` are the native
endpoints, for `HTTPServer(..., handlers=routes())` or `--handlers flasknado.live:routes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flasknado.live.errors import (
    BufferFull,
    InvalidCursor,
    InvalidEvent,
    InvalidIdentity,
    LiveError,
    LogUnavailable,
    TooManySubscribers,
)
from flasknado.live.extension import Live
from flasknado.live.origins import OriginPolicy
from flasknado.live.tickets import Identity

if TYPE_CHECKING:
    from tornado.routing import URLSpec

__all__ = [
    "BufferFull",
    "Identity",
    "InvalidCursor",
    "InvalidEvent",
    "InvalidIdentity",
    "Live",
    "LiveError",
    "LogUnavailable",
    "OriginPolicy",
    "TooManySubscribers",
    "routes",
]


def routes(prefix: str = "/live") -> list[URLSpec]:
    """Return the native routes of the live endpoints under a path prefix.

    `GET events` (server-sent events), `ndjson`, `poll` (long-poll), `socket` (WebSocket) and
    `live.js` (the browser's client), `who` (whose pages they are), and `POST publish`.
    """
    from flasknado.live.endpoints import route_table

    return route_table(prefix)
