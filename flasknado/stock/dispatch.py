"""Requests of Tornado's own connections, each sent to its half: the stock layer's router."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from typing import Any, Final, Protocol

from tornado import httputil

from flasknado.errors import RequestError
from flasknado.http.admit import FrontDoor
from flasknado.http.counters import NATIVE, Counters
from flasknado.http.limits import Limits
from flasknado.http.memory import MemoryBudget
from flasknado.http.message import Finished, RequestHead, as_address
from flasknado.http.reply import Container
from flasknado.http.request_id import REQUEST_ID_FIELD, current_request_id
from flasknado.native import tornado_private
from flasknado.native.heads import head_from
from flasknado.native.methods import METHOD_NOT_ALLOWED, name_methods
from flasknado.stock.adapter import ContainerDelegate, leave_if_ended, refuse

gen_log = logging.getLogger("tornado.general")


ROOM_POLL_S: Final = 0.05
"""How often a body that there is no memory for looks whether there is some."""


class Halves(Protocol):
    """What a server has for the requests of Tornado's connections: `flasknado.HTTPServer`."""

    budget: MemoryBudget
    counters: Counters
    door: FrontDoor
    limits: Limits

    @property
    def ordinary(self) -> Container | None:
        """What takes ordinary requests, if anything does."""

    def start_native(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        """Take a request that a native route matches."""

    def start_request_unrouted(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        """Take a request that none matches, where there is no container."""


class Dispatch(httputil.HTTPMessageDelegate):
    """Sends one request of a Tornado connection to its half, once its head is known."""

    def __init__(
        self, server: Halves, server_conn: object, connection: httputil.HTTPConnection
    ) -> None:
        self._server = server
        self._server_conn = server_conn
        self._connection = connection
        self._delegate: httputil.HTTPMessageDelegate | None = None
        self._forwarded = False
        self._held_bytes = 0
        self._method = ""

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, httputil.RequestStartLine)
        server = self._server
        self._method = start_line.method
        if leave_if_ended(self._server_conn, self._connection):
            return None
        try:
            head = head_from(start_line, headers, self._connection)
            peer, scheme = head.client, head.scheme
            half = server.door.admit(head)
        except RequestError as error:
            server.counters.requests_refused += 1
            address = as_address(getattr(self._server_context(), "address", None))
            gen_log.info(
                "Malformed HTTP message from %s: %s",
                address[0] if address is not None else "a Unix socket",
                error,
            )
            refuse(self._connection, None, error, start_line.method)
            server.counters.refused(address, None, error.status, 0)
            return None
        if not head.keep_alive:
            # Tornado sees no "close" in a list of options.
            tornado_private.end_after_response(self._connection)
        if half is NATIVE:
            if (head.client, head.scheme) != (peer, scheme):
                self._forward(head.client[0] if head.client else None, head.scheme)
            if head.host is not None:
                headers["Host"] = head.host
            uri = f"{head.path}?{head.query}" if "?" in head.target else head.path
            if uri != start_line.path:
                start_line = start_line._replace(path=uri)
            if head.version == "1.0":
                # It cannot be upgraded (RFC 9110, section 7.8).
                headers.pop("Upgrade", None)
        # Where a native handler's request is told from (`head_of`), and its route.
        self._connection.head = head  # type: ignore[attr-defined]
        if half is NATIVE:
            current_request_id.set(head.request_id)
            self._complete_response(head)
        if head.native is not None:
            delegate = server.start_native(self._server_conn, self._connection)
        elif server.ordinary is not None:
            delegate = ContainerDelegate(server.ordinary, self._connection, head)
        else:
            delegate = server.start_request_unrouted(self._server_conn, self._connection)
        self._count(head, half)
        self._delegate = delegate
        return delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if self._delegate is None:
            return None
        result = self._delegate.data_received(chunk)
        self._count_memory()
        return self._wait_for_room(result) if self._server.budget.full else result

    def _count_memory(self, held_bytes: int | None = None) -> None:
        if held_bytes is None:
            held_bytes = getattr(tornado_private.innermost(self._delegate), "held_bytes", 0)
        change_bytes = held_bytes - self._held_bytes
        self._held_bytes = held_bytes
        self._server.budget.hold(change_bytes)

    async def _wait_for_room(self, result: Awaitable[None] | None) -> None:
        """Have no more of a body read while there is no memory for it, and then refuse it."""
        if result is not None:
            await result
        budget = self._server.budget
        ends = time.monotonic() + self._server.limits.body_timeout_s
        while budget.full:
            if time.monotonic() >= ends:
                delegate, self._delegate = self._delegate, None
                if delegate is not None:
                    delegate.on_connection_close()
                self._count_memory(0)
                refuse(self._connection, None, budget.refusal(), self._method)
                return
            await asyncio.sleep(ROOM_POLL_S)

    def finish(self) -> None:
        if self._delegate is not None:
            self._delegate.finish()
        self._end()

    def on_connection_close(self) -> None:
        if self._delegate is not None:
            self._delegate.on_connection_close()
            # Tornado leaves this open for a request that never came whole; it would count forever.
            finished = tornado_private.finished(self._connection)
            if not finished.done():
                finished.set_result(None)
        self._end()

    def _server_context(self) -> Any:
        return getattr(self._connection, "context", None)

    def _forward(self, address: str | None, scheme: str) -> None:
        """Tell Tornado's request of the client that the proxy forwards for."""
        context = self._server_context()
        if context is not None:
            self._forwarded = True
            context.remote_ip = address or context.remote_ip
            context.protocol = scheme

    def _end(self) -> None:
        # Both contexts belong to the connection, and its next request may be another's.
        current_request_id.set(None)
        if self._forwarded:
            context: Any = self._connection.context  # type: ignore[attr-defined]
            tornado_private.forget_forwarding(context)

    def _complete_response(self, head: RequestHead) -> None:
        """Have the response on a connection, which is one request's in Tornado, carry the id."""
        connection: Any = self._connection
        write_headers = connection.write_headers

        def complete_and_write(
            start_line: Any, headers: httputil.HTTPHeaders, chunk: bytes | None = None
        ) -> Any:
            # There is one head to a response; what knows the request would keep its body for long.
            del connection.write_headers
            if REQUEST_ID_FIELD not in headers:
                headers[REQUEST_ID_FIELD] = head.request_id or ""
            if start_line.code == METHOD_NOT_ALLOWED:
                name_methods(headers, self._delegate)
            head.response_fields = list(headers.get_all())
            return write_headers(start_line, headers, chunk)

        connection.write_headers = complete_and_write

    def _count(self, head: RequestHead, half: str) -> None:
        """Count the request, and count it out when Tornado's connection is done with it."""
        counters = self._server.counters
        connection: Any = self._connection
        stream = connection.stream
        began, sent_before = time.monotonic(), tornado_private.written_bytes(stream)
        counters.requests[half] += 1
        counters.running[half] += 1

        def finished(_: asyncio.Future[None]) -> None:
            counters.running[half] -= 1
            self._count_memory(0)
            if counters.hooks:
                status = tornado_private.status_sent(connection) or 499
                size_bytes = tornado_private.written_bytes(stream) - sent_before
                duration_s = time.monotonic() - began
                told = Finished(head, status, size_bytes, duration_s, half)
                for hook in counters.hooks:
                    hook(told)

        tornado_private.finished(connection).add_done_callback(finished)
