"""`GET ndjson`: one JSON object a line, for programs that read a response line by line."""

from __future__ import annotations

from flasknado.live.frames import NDJSON, NDJSON_CHUNKED
from flasknado.live.transports.stream import ResponseSubscriber, StreamHandler


class NdjsonSubscriber(ResponseSubscriber):
    """A program that reads lines."""

    __slots__ = ()
    transport = "ndjson"


class NdjsonHandler(StreamHandler):
    """The first line without missed events is a `heartbeat` with the present cursor."""

    content_type = "application/x-ndjson"
    wire_format = NDJSON
    chunked_format = NDJSON_CHUNKED
    subscriber_type = NdjsonSubscriber
