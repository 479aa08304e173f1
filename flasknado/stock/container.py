"""`WSGIContainer`: a WSGI application behind our own connections, or behind Tornado's.

    container = WSGIContainer(flask_app, threads=16)
    HTTPServer(container, handlers=[...]).listen(8000)

It also takes the place of `tornado.wsgi.WSGIContainer` in Tornado's own `HTTPServer`, in its
routing (`tornado.routing.Rule`) and in `tornado.web.FallbackHandler`.
"""

from __future__ import annotations

import io

from tornado import httputil

from flasknado.http.message import Body
from flasknado.stock.adapter import ContainerDelegate, StockReply, head_of
from flasknado.wsgi.container import ApplicationContainer


class WSGIContainer(ApplicationContainer, httputil.HTTPServerConnectionDelegate):
    """Runs a WSGI application for the ordinary requests of a server.

    threads: how many requests run at once.
    queue_limit: how many more may wait for a thread; one more is answered 503 with
        `Retry-After`. Default: 64 for each thread.
    queue_timeout_s: how long a request may wait for a thread before it is answered 503.
    request_timeout_s: how long a request may run before its client is answered 504 in the
        thread's place (`flasknado.wsgi.deadline`); a stream that has begun goes on. Default:
        as long as it takes.
    slow_request_s: how long a request may run before the log says once where its thread is.
        Default: never.
    abandoned_after_s: how long a thread may go on with a request after its client has left;
        then it counts as stuck (`stuck`), and the log says once where it is. `None`: for ever.
    max_body_bytes: the largest body, in bytes or as text such as `16M`; a larger one is
        answered 413, unread where its size is announced.
    body_limits: other limits by path prefix and method (`flasknado.http.body_limits`), such
        as `{"POST /upload": "100M"}`. What an `HTTPServer`'s limits say goes before both.
    mount: a path prefix such as `/shop` under which alone the application answers, and a
        server's native handlers beside it; it becomes `SCRIPT_NAME`.
    multiprocess: what to tell the application of other processes (`wsgi.multiprocess`).

    Raises `ConfigurationError` for a value out of its range. Everything but the gauges of
    `pool` belongs to the loop's thread.
    """

    def start_request(
        self,
        server_conn: object,  # noqa: ARG002 (the interface is Tornado's)
        request_conn: httputil.HTTPConnection,
    ) -> ContainerDelegate:
        """Take a request from Tornado's own connection (`HTTPServerConnectionDelegate`)."""
        return ContainerDelegate(self, request_conn)

    def __call__(self, request: httputil.HTTPServerRequest) -> None:
        """Take a request that Tornado has read already (`tornado.web.FallbackHandler`)."""
        assert request.connection is not None
        head = head_of(request)
        body = Body(io.BytesIO(request.body), len(request.body))
        self.handle(head, body, StockReply(request.connection, head))
