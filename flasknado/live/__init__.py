"""Live events: published in a view's transaction, delivered to every subscriber in order.

    live = Live()
    live.init_app(app, db)

    @live.authorize
    def may_read(channel: str) -> bool: ...

    live.publish("posts", "post.created", {"id": 1})
    db.session.commit()

`Live` is the Flask side and imports neither Tornado nor the hub. `routes()` are the native
endpoints, for `HTTPServer(..., handlers=routes())` or `--handlers flasknado.live:routes`.
The names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flasknado.exports import imported, lazily

if TYPE_CHECKING:
    from tornado.routing import URLSpec

    from flasknado.live.client import AsyncClient as AsyncClient
    from flasknado.live.client import Client as Client
    from flasknado.live.client import LiveEvent as LiveEvent
    from flasknado.live.client import Reset as Reset
    from flasknado.live.client import SubscriptionRefused as SubscriptionRefused
    from flasknado.live.endpoints.base import LiveHandler as LiveHandler
    from flasknado.live.errors import BufferFull as BufferFull
    from flasknado.live.errors import InvalidCursor as InvalidCursor
    from flasknado.live.errors import InvalidEvent as InvalidEvent
    from flasknado.live.errors import InvalidIdentity as InvalidIdentity
    from flasknado.live.errors import LiveError as LiveError
    from flasknado.live.errors import LogUnavailable as LogUnavailable
    from flasknado.live.errors import TooManySubscribers as TooManySubscribers
    from flasknado.live.errors import TransactionEnded as TransactionEnded
    from flasknado.live.event import Event as Event
    from flasknado.live.extension import Live as Live
    from flasknado.live.log.postgres import limit_waits as limit_waits
    from flasknado.live.log.presence import Presence as Presence
    from flasknado.live.log.run_table import Run as Run
    from flasknado.live.log.sql_publish import publish_function as publish_function
    from flasknado.live.origins import OriginPolicy as OriginPolicy
    from flasknado.live.runs.errors import TooManyRuns as TooManyRuns
    from flasknado.live.tickets import Identity as Identity

__all__ = [
    "AsyncClient",
    "BufferFull",
    "Client",
    "Event",
    "Identity",
    "InvalidCursor",
    "InvalidEvent",
    "InvalidIdentity",
    "Live",
    "LiveError",
    "LiveEvent",
    "LiveHandler",
    "LogUnavailable",
    "OriginPolicy",
    "Presence",
    "Reset",
    "Run",
    "SubscriptionRefused",
    "TooManyRuns",
    "TooManySubscribers",
    "TransactionEnded",
    "limit_waits",
    "publish_function",
    "routes",
]

if not TYPE_CHECKING:  # else every name would exist for type checkers
    __getattr__ = lazily(
        __name__,
        {
            "AsyncClient": "flasknado.live.client",
            "BufferFull": "flasknado.live.errors",
            "Client": "flasknado.live.client",
            "Event": "flasknado.live.event",
            "Identity": "flasknado.live.tickets",
            "InvalidCursor": "flasknado.live.errors",
            "InvalidEvent": "flasknado.live.errors",
            "InvalidIdentity": "flasknado.live.errors",
            "Live": "flasknado.live.extension",
            "LiveError": "flasknado.live.errors",
            "LiveEvent": "flasknado.live.client",
            "LiveHandler": "flasknado.live.endpoints.base",
            "LogUnavailable": "flasknado.live.errors",
            "OriginPolicy": "flasknado.live.origins",
            "Presence": "flasknado.live.log.presence",
            "Reset": "flasknado.live.client",
            "Run": "flasknado.live.log.run_table",
            "SubscriptionRefused": "flasknado.live.client",
            "TooManyRuns": "flasknado.live.runs.errors",
            "TooManySubscribers": "flasknado.live.errors",
            "TransactionEnded": "flasknado.live.errors",
            "limit_waits": "flasknado.live.log.postgres",
            "publish_function": "flasknado.live.log.sql_publish",
        },
    )


def routes(prefix: str = "/live") -> list[URLSpec]:
    """Return the native routes of the live endpoints under a path prefix.

    `GET events` (server-sent events), `ndjson`, `poll` (long-poll), `socket` (WebSocket) and
    `live.js` (the client for browsers), `who` (the user of a page), `POST publish`, and
    `POST stop` (a run).
    """
    endpoints: Any = imported("flasknado.live.endpoints", "flasknado.live.routes")
    table: list[URLSpec] = endpoints.route_table(prefix)
    return table
