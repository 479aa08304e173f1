"""Native handlers on Tornado's own connections: their limits of bodies, enforced with a 413.

Tornado's connection would answer 400, and closes without having read on.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from tornado import httputil

from flasknado.http.body_limits import body_too_large
from flasknado.native import tornado_private
from flasknado.native.application import HandlerDelegate
from flasknado.stock.adapter import BODY_SLACK_BYTES, refuse


class StockHandlerDelegate(HandlerDelegate):
    """Runs one handler for one request of a Tornado connection."""

    _refused = False
    _limit_bytes = 0
    _left_bytes: int | None = None
    """How much more of a body is taken."""

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        """Set the limit of the body, if there is one, before any of it is read."""
        if not ("Content-Length" in headers or "Transfer-Encoding" in headers):
            return super().headers_received(start_line, headers)
        limit_bytes = self.limit_bytes()
        if limit_bytes is None:
            return super().headers_received(start_line, headers)
        connection: Any = self.connection
        connection.set_max_body_size(limit_bytes)
        # What does not stream its body cannot change its mind about the limit.
        if not self.stream_request_body and self._refuses(headers, limit_bytes):
            return None
        ready = super().headers_received(start_line, headers)
        return self._limit_stock(ready, headers)

    async def _limit_stock(
        self, ready: Awaitable[None] | None, headers: httputil.HTTPHeaders
    ) -> None:
        """Enforce the limit that the handler wants, once it is ready, in Tornado's place."""
        if ready is not None:
            await ready
        connection: Any = self.connection
        limit_bytes = tornado_private.max_body_bytes(connection)
        if self._refuses(headers, limit_bytes):
            return
        self._left_bytes = self._limit_bytes = limit_bytes
        connection.set_max_body_size(limit_bytes + BODY_SLACK_BYTES)

    def _refuses(self, headers: httputil.HTTPHeaders, limit_bytes: int) -> bool:
        text = headers.get("Content-Length", "0")
        length_bytes = int(text) if text.isdecimal() else 0
        if length_bytes <= limit_bytes:
            return False
        self._refuse(limit_bytes, length_bytes)
        return True

    def _refuse(self, limit_bytes: int, length_bytes: int | None) -> None:
        self._refused = True
        connection: Any = self.connection
        if tornado_private.has_answered(connection):  # the handler has answered already
            return
        if length_bytes is not None:
            connection.set_max_body_size(length_bytes)  # it is closed before it is read
        error = body_too_large(limit_bytes, length_bytes)
        refuse(connection, None, error, self.request.method or "")
        if self.stream_request_body:
            self.handler.on_connection_close()

    @property
    def held_bytes(self) -> int:
        """How much of the body is in memory."""
        return 0 if self.stream_request_body else len(self.chunks or b"")

    def data_received(self, data: bytes) -> Awaitable[None] | None:
        """Take a part of the body."""
        if self._refused:
            return None
        if self._left_bytes is not None:
            self._left_bytes -= len(data)
            if self._left_bytes < 0:
                self._refuse(self._limit_bytes, None)
                return None
        return super().data_received(data)

    def finish(self) -> None:
        """Run the handler, unless its body was refused."""
        if not self._refused:
            super().finish()
