"""An endless response: what server-sent events and NDJSON share.

The handler authorises, writes the head, hands the connection to the hub and is gone; what
stays is one `ResponseSubscriber`. It frames the body itself (RFC 9112, section 7.1), because the
same bytes, chunk sizes included, go to every client.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import ClassVar

from tornado import httputil
from tornado.iostream import IOStream, StreamClosedError

from flasknado.http.message import SERVER_SOFTWARE
from flasknado.live.compression import accepts_gzip, gzipped
from flasknado.live.endpoints.access import refusals
from flasknado.live.endpoints.base import LiveHandler
from flasknado.live.formats import Format
from flasknado.live.hub.subscriber import StreamSubscriber


class ResponseSubscriber(StreamSubscriber):
    """A client on an endless response: it only reads, so whatever it sends ends it."""

    __slots__ = ()

    def attach(self, stream: IOStream) -> None:
        super().attach(stream)
        stream.set_close_callback(self.leave)
        said = asyncio.ensure_future(stream.read_bytes(1, partial=True))
        said.add_done_callback(self._on_input)

    def _on_input(self, said: asyncio.Future[bytes]) -> None:
        failed = said.cancelled() or said.exception() is not None
        if failed or not self._ending:
            self.leave()
            self._stream.close()


class StreamHandler(LiveHandler):
    """`GET ?channel=A&channel=B&after=CURSOR`, answered until somebody hangs up.

    Without a cursor the stream begins at the present head, or with the `last` events of each
    channel. What an EventSource gives back
    when it reconnects (`flasknado.live.formats.last_event_id`) wins over `after`, since it
    repeats the page's URL.
    """

    content_type: ClassVar[str]
    wire_format: ClassVar[Format]
    chunked_format: ClassVar[Format]
    subscriber_type: ClassVar[type[ResponseSubscriber]]

    async def get(self) -> None:
        channels = self.channels()
        after, last = self.after(), self.last()
        self.formats()
        access = await self.authorize(channels)
        if self.client_gone:
            return
        hub = self.hub()
        chunked = self.request.version == "HTTP/1.1"
        formats = self.formats()
        if self._compressed():
            formats = gzipped(formats)
        wire_format = formats[chunked]
        address = access.address or self.address()
        subscriber = self.subscriber_type(hub, wire_format, access.identity, address)
        self.introduce(subscriber, channels)
        with refusals():
            hub.admit(subscriber, access.asked_at, access.channels)
        try:
            self._write_head(chunked)
            subscriber.attach(self.detach())
            opening = wire_format.opening(hub.options.retry_s)
            if opening:
                subscriber.write(opening)
        except StreamClosedError:
            hub.remove(subscriber)
        except BaseException:
            hub.remove(subscriber)
            raise
        if not subscriber.gone:
            # Interned: thousands of clients name the same few channels.
            hub.subscribe(subscriber, map(sys.intern, channels), after, last)
            if self.get_query_argument("presence", "") in ("1", "true"):
                hub.tell_presence(subscriber, channels)
        self.application.log_request(self)

    def formats(self) -> tuple[Format, Format]:
        """Return the format that is asked for, plain and chunked; raises `Refused` (400)."""
        return self.wire_format, self.chunked_format

    async def head(self) -> None:
        """Answer as GET would begin."""
        channels = self.channels()
        self.last()
        self.formats()
        await self.authorize(channels)
        for name, value in self._head_fields().items():
            self.set_header(name, value)

    def _compressed(self) -> bool:
        return self.state.options.compression and accepts_gzip(
            self.request.headers.get("Accept-Encoding", "")
        )

    def _head_fields(self) -> dict[str, str]:
        fields = {
            "Content-Type": self.content_type,
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
            **self.cors_headers(),
            **self.who_headers(),
        }
        if self._compressed():
            fields["Content-Encoding"] = "gzip"
        if self.state.options.compression:
            fields["Vary"] = "Origin, Accept-Encoding"
        return fields

    def _write_head(self, chunked: bool) -> None:
        fields = httputil.HTTPHeaders(self._head_fields())
        fields["Server"] = SERVER_SOFTWARE
        fields["Date"] = httputil.format_timestamp(time.time())
        # The connection is the stream's until it ends (RFC 9112, section 9.6).
        fields["Connection"] = "close"
        if chunked:
            fields["Transfer-Encoding"] = "chunked"
        start_line = httputil.ResponseStartLine("HTTP/1.1", 200, "OK")
        assert self.request.connection is not None
        self.request.connection.write_headers(start_line, fields)
