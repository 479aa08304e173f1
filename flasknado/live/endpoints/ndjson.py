"""`GET ndjson`: one JSON object a line, for programs that read a response line by line."""

from __future__ import annotations

from flasknado.live.endpoints.endless import ResponseSubscriber, StreamHandler
from flasknado.live.formats import NDJSON, NDJSON_CHUNKED


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
