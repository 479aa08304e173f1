"""`/live/search`: search while typing, over a WebSocket.

Each message is a query, each answer what was found for it. The search itself is Flask's, on a
thread, with the session and the database of an ordinary view; the loop only holds the clients.
While a search runs, only the latest query waits: somebody who types fast asks for few of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from flask import current_app
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from flasknado import Refused, in_flask

SEARCH_KEY = "webapp.search"
"""Where `app.extensions` holds the function that searches; it returns a dict."""

MAX_QUERY_BYTES = 1_000
PAUSE_S = 0.1
IDLE_S = 300


class SearchHandler(WebSocketHandler):
    """Answers queries, the latest first, one at a time."""

    _wanted: str | None = None
    _task: asyncio.Task[None] | None = None
    _idle: asyncio.TimerHandle | None = None

    @property
    def max_message_size(self) -> int:
        """Longer messages close the connection."""
        return MAX_QUERY_BYTES

    def open(self) -> None:
        self._stay()

    def on_message(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self.close(1003, "queries are text")
            return
        self._stay()
        self._wanted = message
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._search())

    def on_close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._idle is not None:
            self._idle.cancel()

    async def _search(self) -> None:
        while self._wanted is not None:
            query, self._wanted = self._wanted, None
            try:
                found = await in_flask(self, search, query)
            except Refused as refused:
                # Busy, or refused by the application: the page asks the API instead.
                self.close(1013, str(refused.log_message or refused.reason)[:100])
                return
            with contextlib.suppress(WebSocketClosedError):
                await self.write_message(json.dumps(found | {"query": query.strip()}))
            await asyncio.sleep(PAUSE_S)

    def _stay(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self.close, 1000, "idle")


def search(query: str) -> dict[str, Any]:
    """Return what the application finds; in a request context."""
    found: dict[str, Any] = current_app.extensions[SEARCH_KEY](query)
    return found
