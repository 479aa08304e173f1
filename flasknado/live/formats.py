"""How events are written on each transport. Pure: bytes out, no sockets.

Every transport carries the same JSON object, `{"id", "channel", "event", "data"}`, where
`id` is the cursor of the event. What the server says itself (`reset`, `heartbeat`) has the
same four fields, with `channel` and `data` null. A `Format` writes them for one transport;
the hub encodes an event once per format and writes the same bytes to every client.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import NamedTuple

from flasknado.http.encode import frame_chunk
from flasknado.live.errors import InvalidCursor
from flasknado.live.event import BY, HTML, Cursor, Event, parse_cursor, shown_name
from flasknado.websocket import codec

NO_LOG = Cursor("", 0)
"""A cursor of no log at all, which every log answers with a reset."""

WHO_FIELD = "Live-Who"
"""The header field that says whose answer it is, as `Live.page_key` does to a page."""

CONNECTION_FIELD = "X-Live-Connection"
"""The header field in which a page gives the id that its connection has."""

ALLOWED_HEADERS = f"Authorization, Cache-Control, Content-Type, Last-Event-ID, {CONNECTION_FIELD}"
EXPOSED_HEADERS = f"Retry-After, X-Request-ID, {WHO_FIELD}"
"""What pages of other origins may send, and see."""

TICKET_MARK = "~"
"""Between cursor and ticket, where a client can give back one text only."""

_LAST_EVENT_ID = re.compile(r"(?i)(?:evs_)?last[-_]?event[-_]?id")
"""The query parameters in which polyfills of EventSource give back the last event id."""

CLOSE_ACCESS_ENDED = 4401
"""The close code for a session or token that has expired or was revoked (4000 up is ours)."""


class GoAway(NamedTuple):
    """What a client is told that is to reconnect."""

    retry_s: float
    cursor: Cursor | None = None
    """Up to where it has everything, if that is known."""
    ticket: str | None = None


_SSE_LINE_END = re.compile("\r\n|\r|\n")
_SSE_FORBIDDEN = re.compile("[\r\n\0]")


def json_event(epoch: str, event: Event) -> bytes:
    """Return an event as a JSON object on one line; `data` is embedded as published.

    A channel about another (`post:1!presence`) is shown under the other's name. `by` is there
    if the event is for others than the connection with that digest.
    """
    name, _, by = event.name.partition(BY)
    name = name.removesuffix(HTML)
    caused = f',"by":"{by}"' if by else ""
    return (
        f'{{"id":"{epoch}:{event.offset}","channel":"{event.channel.partition("!")[0]}",'
        f'"event":{json.dumps(name, ensure_ascii=False)},"data":{event.data}{caused}}}'
    ).encode()


def json_control(name: str, cursor: Cursor) -> bytes:
    """Return what the server itself says (`reset`, `heartbeat`) as a JSON object."""
    return f'{{"id":"{cursor}","channel":null,"event":"{name}","data":null}}'.encode()


def json_reconnect(notice: GoAway) -> bytes:
    """Return the notice that the client is to reconnect, as a JSON object."""
    cursor = "null" if notice.cursor is None else f'"{notice.cursor}"'
    data = json.dumps({"retry_s": notice.retry_s, "ticket": notice.ticket})
    return f'{{"id":{cursor},"channel":null,"event":"reconnect","data":{data}}}'.encode()


def sse_block(
    *,
    event_id: str | None = None,
    event: str | None = None,
    data: str | None = None,
    retry_s: float | None = None,
) -> bytes:
    """Return one block of an event stream (HTML standard, section 9.2.6).

    A block without data changes the client's last event id and reconnection time, and
    is seen by nobody else. Line ends in `data` are written as several `data:` lines, so
    that a client reads CR and CR LF as LF. Raises `ValueError` for an id or event name
    that the format cannot carry.
    """
    lines: list[str] = []
    for field, value in (("id", event_id), ("event", event)):
        if value is not None:
            if _SSE_FORBIDDEN.search(value) is not None:
                raise ValueError(f"the {field} {value!r} has a line end or NUL, which SSE forbids")
            lines.append(f"{field}: {value}")
    if retry_s is not None:
        lines.append(f"retry: {max(0, round(retry_s * 1000))}")
    if data is not None:
        lines.extend(f"data: {line}" for line in _SSE_LINE_END.split(data))
    return ("\n".join(lines) + "\n\n").encode()


class Format(ABC):
    """How one transport writes what the hub has to say. Stateless; one instance each."""

    __slots__ = ()

    @abstractmethod
    def event(self, epoch: str, event: Event) -> bytes:
        """Return an event."""

    @abstractmethod
    def reset(self, cursor: Cursor) -> bytes:
        """Return the notice that events were missed and the stream goes on at `cursor`."""

    @abstractmethod
    def heartbeat(self, cursor: Cursor) -> bytes:
        """Return the notice that everything up to `cursor` has been sent."""

    def opening(self, retry_s: float) -> bytes:  # noqa: ARG002
        """Return what a stream begins with."""
        return b""

    def closing(self, notice: GoAway) -> bytes:  # noqa: ARG002
        """Return what a stream ends with when the client is to reconnect."""
        return self.ended()

    def ended(self) -> bytes:
        """Return what a stream ends with."""
        return b""


class JsonList(Format):
    """Elements of a JSON array, each followed by a comma: for long-poll's one answer."""

    def event(self, epoch: str, event: Event) -> bytes:
        return json_event(epoch, event) + b","

    def reset(self, cursor: Cursor) -> bytes:
        return json_control("reset", cursor) + b","

    def heartbeat(self, cursor: Cursor) -> bytes:  # noqa: ARG002
        return b""


class Ndjson(Format):
    """One JSON object a line."""

    def event(self, epoch: str, event: Event) -> bytes:
        return json_event(epoch, event) + b"\n"

    def reset(self, cursor: Cursor) -> bytes:
        return json_control("reset", cursor) + b"\n"

    def heartbeat(self, cursor: Cursor) -> bytes:
        return json_control("heartbeat", cursor) + b"\n"

    def closing(self, notice: GoAway) -> bytes:
        return json_reconnect(notice) + b"\n"


class Sse(Format):
    """Server-sent events: `id`, `event`, and the JSON object as `data`.

    The heartbeat is a block of an `id` alone: EventSource remembers it for its next
    `Last-Event-ID` and dispatches nothing, so the cursor of a quiet channel stays young.
    """

    def event(self, epoch: str, event: Event) -> bytes:
        return b"id: %b:%d\nevent: %b\ndata: %b\n\n" % (
            epoch.encode(),
            event.offset,
            shown_name(event).encode(),
            json_event(epoch, event),
        )

    def reset(self, cursor: Cursor) -> bytes:
        data = json_control("reset", cursor).decode()
        return sse_block(event_id=str(cursor), event="reset", data=data)

    def heartbeat(self, cursor: Cursor) -> bytes:
        return sse_block(event_id=str(cursor))

    def opening(self, retry_s: float) -> bytes:
        return sse_block(retry_s=retry_s)

    def closing(self, notice: GoAway) -> bytes:
        # A browser gives back the last id and nothing else, so the ticket travels in it.
        event_id = None
        if notice.cursor is not None:
            event_id = str(notice.cursor)
            if notice.ticket is not None:
                event_id += TICKET_MARK + notice.ticket
        return sse_block(event_id=event_id, retry_s=notice.retry_s)


class WebSocket(Format):
    """JSON text messages; a heartbeat is also a ping, which finds clients that are gone."""

    takes_forms = False
    """Whether the client may send the fields of a form as a message."""
    deflates = False
    """Whether its messages may be compressed."""

    def event(self, epoch: str, event: Event) -> bytes:
        return codec.frame(codec.TEXT, json_event(epoch, event))

    def reset(self, cursor: Cursor) -> bytes:
        return codec.frame(codec.TEXT, json_control("reset", cursor))

    def heartbeat(self, cursor: Cursor) -> bytes:
        text = codec.frame(codec.TEXT, json_control("heartbeat", cursor))
        return text + codec.frame(codec.PING)

    def message(self, text: str) -> bytes:
        """Return a message of the protocol itself, which is JSON."""
        return codec.frame(codec.TEXT, text.encode())

    def closing(self, notice: GoAway) -> bytes:
        text = codec.frame(codec.TEXT, json_reconnect(notice))
        reason = "the server is restarting: reconnect"
        return text + codec.close_frame(codec.CLOSE_RESTART, reason)

    def ended(self) -> bytes:
        reason = "access has ended: authenticate again"
        return codec.close_frame(CLOSE_ACCESS_ENDED, reason)


class Chunked(Format):
    """Another format, framed in HTTP/1.1 chunks, so that the framing too is done once."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Format) -> None:
        self._inner = inner

    def event(self, epoch: str, event: Event) -> bytes:
        return frame_chunk(self._inner.event(epoch, event))

    def reset(self, cursor: Cursor) -> bytes:
        return frame_chunk(self._inner.reset(cursor))

    def heartbeat(self, cursor: Cursor) -> bytes:
        return frame_chunk(self._inner.heartbeat(cursor))

    def opening(self, retry_s: float) -> bytes:
        data = self._inner.opening(retry_s)
        return frame_chunk(data) if data else b""

    def closing(self, notice: GoAway) -> bytes:
        data = self._inner.closing(notice)
        return (frame_chunk(data) if data else b"") + self.ended()

    def ended(self) -> bytes:
        return b"0\r\n\r\n"


JSON_LIST = JsonList()
NDJSON = Ndjson()
NDJSON_CHUNKED = Chunked(NDJSON)
SSE = Sse()
SSE_CHUNKED = Chunked(SSE)
WEBSOCKET = WebSocket()


def last_event_id(field: str | None, parameters: Iterable[tuple[str, str]]) -> str | None:
    """Return what a reconnecting EventSource gives back, if it does.

    The field `Last-Event-ID`, which browsers send, goes before the query parameters in which
    polyfills send it: `lastEventId`, `last-event-id`, `Last-Event-ID` and their like; of
    several the last. Each goes before the `after` of the URL, which is repeated as it was.
    """
    if field:
        return field
    found = None
    for name, value in parameters:
        if value and _LAST_EVENT_ID.fullmatch(name) is not None:
            found = value
    return found


def cursor_of_last_event_id(text: str | None) -> Cursor | None:
    """Return the cursor in what a reconnecting EventSource gives back, if there is one."""
    return cursor_or_reset(text) if text else None


def cursor_or_reset(text: str) -> Cursor:
    """Return the cursor that a client gives, perhaps with a ticket behind it.

    A text that is no cursor leads to a reset: an error would end an EventSource for good.
    """
    try:
        return parse_cursor(text.partition(TICKET_MARK)[0])
    except InvalidCursor:
        return NO_LOG
