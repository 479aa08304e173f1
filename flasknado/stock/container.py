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

    threads: how many requests run concurrently.
    queue_limit: how many more may wait for a thread; further ones get 503 with `Retry-After`.
        Default: 64 per thread.
    queue_timeout_s: how long a request may wait for a thread before it gets 503.
    request_timeout_s: how long a request may run before its client gets 504, while the thread
        runs on; a stream that has started continues. Default: no limit.
    slow_request_s: how long a request may run before the log shows once where its thread is.
        Default: never.
    abandoned_after_s: how long a thread may go on with a request after its client has left
        before it counts as stuck (`stuck`) and the log shows once where it is. `None`: no limit.
    max_loop_streams: how many responses the event loop may make at once (`flasknado.stream`);
        further ones get 503 with `Retry-After`.
    stream_threads: how many responses may hold a thread each, beside `threads`: streams that have
        begun and wait, taken sockets (WebSocket), views that wait for another thread of the
        process; one more stream gets 503 with `Retry-After`. 0: they hold the pool's threads.
    stream_grace_s: how long streams of server-sent events may go on once the server drains; then
        they are ended, and their clients come back to another server.
    max_body_bytes: the largest body, in bytes or as text such as `16M`; larger ones get 413,
        unread if their length is announced.
    body_limits: different limits by method and path prefix, such as `{"POST /upload": "100M"}`.
        The limits of an `HTTPServer` override both.
    mount: the path prefix, such as `/shop`, under which the application and a server's native
        handlers are served; it becomes `SCRIPT_NAME`.
    multiprocess: whether there are other processes (`wsgi.multiprocess`).

    Raises `ConfigurationError` for a value out of its range. Everything but the gauges of
    `pool` belongs to the event loop's thread.
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
