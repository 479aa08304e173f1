"""`GET events`: server-sent events (HTML standard, section 9.2), for the browser's EventSource."""

from __future__ import annotations

from flasknado.live.frames import SSE, SSE_CHUNKED
from flasknado.live.transports.stream import ResponseSubscriber, StreamHandler


class EventsSubscriber(ResponseSubscriber):
    """An EventSource."""

    __slots__ = ()
    transport = "sse"


class EventsHandler(StreamHandler):
    """Each event has the cursor as `id`, its name as `event`, and the JSON object as `data`.

    Heartbeats are blocks of an `id` alone, so a reconnecting client sends a young
    `Last-Event-ID` even if its channel is quiet.
    """

    content_type = "text/event-stream"
    wire_format = SSE
    chunked_format = SSE_CHUNKED
    subscriber_type = EventsSubscriber
