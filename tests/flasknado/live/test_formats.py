"""How events are written: read back by parsers that are not ours."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.streams import StreamReader

from flasknado.live import formats
from flasknado.live.errors import InvalidEvent
from flasknado.live.event import Cursor, Event, check_name, encode_data
from flasknado.live.formats import GoAway
from tests.flasknado.live.helpers import EventSourceParser

CURSOR = Cursor("3f2a9c01", 42)
FAREWELL = GoAway(1.0, CURSOR, "ticket")


def is_name(text: str) -> bool:
    try:
        check_name(text)
    except InvalidEvent:
        return False
    return True


anything = st.text(st.characters(codec="utf-8") | st.sampled_from("\r\n\0\x85\u2028\u2029: "))
event_names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=128).filter(is_name)
events = st.builds(
    lambda offset, channel, name, data: Event(offset, channel, name, encode_data(data, 10**6)),
    st.integers(1, 2**63 - 1),
    st.sampled_from(["posts", "post:42", "a.b/c@d+e=f"]),
    event_names,
    st.dictionaries(anything, anything, max_size=3) | anything | st.none(),
)


def parsed(data: bytes) -> EventSourceParser:
    parser = EventSourceParser()
    parser.feed(data.decode())
    return parser


def websocket_messages(data: bytes) -> list[Frame]:
    reader = StreamReader()
    reader.feed_data(data)
    found = []
    while reader.buffer:
        steps = Frame.parse(reader.read_exact, mask=False)
        with pytest.raises(StopIteration) as parsed_frame:
            next(steps)
        found.append(parsed_frame.value.value)
    return found


def expected(event: Event) -> dict[str, object]:
    return {
        "id": f"3f2a9c01:{event.offset}",
        "channel": event.channel,
        "event": event.name,
        "data": json.loads(event.data),
    }


@given(events)
def test_sse_any_event_is_dispatched_once_with_id_name_and_object(event: Event) -> None:
    parser = parsed(formats.SSE.event("3f2a9c01", event))
    [message] = parser.messages
    assert parser.last_event_id == message.id == f"3f2a9c01:{event.offset}"
    assert message.event == event.name
    assert message.body == expected(event)


@given(st.lists(events, max_size=5))
def test_ndjson_events_any_are_one_line_each_by_every_reading(several: list[Event]) -> None:
    data = b"".join(formats.NDJSON.event("3f2a9c01", event) for event in several)
    assert [json.loads(line) for line in data.splitlines()] == [expected(e) for e in several]
    assert len(data.decode().splitlines()) == len(several)


@given(st.lists(events, max_size=5))
def test_json_list_events_any_are_elements_of_an_array(several: list[Event]) -> None:
    data = b"".join(formats.JSON_LIST.event("3f2a9c01", event) for event in several)
    assert json.loads(b"[" + data.removesuffix(b",") + b"]") == [expected(e) for e in several]


@given(st.lists(events, max_size=5))
def test_websocket_events_any_are_one_text_message_each(several: list[Event]) -> None:
    data = b"".join(formats.WEBSOCKET.event("3f2a9c01", event) for event in several)
    found = websocket_messages(data)
    assert [json.loads(frame.data) for frame in found] == [expected(e) for e in several]
    assert all(frame.opcode == 1 and frame.fin for frame in found)


@pytest.mark.parametrize("size", [0, 125, 126, 127, 65535, 65536, 70000])
def test_websocket_frame_at_the_length_borders_reads_back(size: int) -> None:
    [frame] = websocket_messages(formats.codec.frame(0x1, b"x" * size))
    assert bytes(frame.data) == b"x" * size


@given(anything, st.none() | event_names)
def test_sse_block_any_text_arrives_with_its_line_ends_as_lf(text: str, name: str | None) -> None:
    parser = parsed(formats.sse_block(event=name, data=text))
    received = [message.data for message in parser.messages]
    # Data of nothing at all is not dispatched (step 2 of dispatching).
    assert received == [text.replace("\r\n", "\n").replace("\r", "\n")]


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0b"])
def test_sse_block_id_or_name_that_cannot_be_carried_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="line end or NUL"):
        formats.sse_block(event_id=bad)
    with pytest.raises(ValueError, match="line end or NUL"):
        formats.sse_block(event=bad)


def test_sse_heartbeat_moves_the_last_event_id_and_dispatches_nothing() -> None:
    parser = parsed(formats.SSE.heartbeat(CURSOR))
    assert (parser.last_event_id, parser.messages) == ("3f2a9c01:42", [])


def test_sse_opening_and_closing_set_the_reconnection_time() -> None:
    assert parsed(formats.SSE.opening(2)).retry_ms == 2000
    assert parsed(formats.SSE.closing(GoAway(0.25))).retry_ms == 250


def test_sse_closing_hides_the_ticket_behind_the_cursor() -> None:
    parser = parsed(formats.SSE.closing(GoAway(2, CURSOR, "a.b")))
    assert (parser.last_event_id, parser.messages) == ("3f2a9c01:42~a.b", [])


def test_reconnect_has_the_fields_of_an_event() -> None:
    notice = json.loads(formats.NDJSON.closing(GoAway(2, CURSOR, "a.b")))
    data = {"retry_s": 2, "ticket": "a.b"}
    assert notice == {"id": str(CURSOR), "channel": None, "event": "reconnect", "data": data}
    text, close = websocket_messages(formats.WEBSOCKET.closing(GoAway(2, None, None)))
    assert json.loads(text.data)["data"] == {"retry_s": 2, "ticket": None}
    assert close.data[:2] == (1012).to_bytes(2, "big")


def test_reset_has_the_fields_of_an_event_on_every_transport() -> None:
    control = {"id": "3f2a9c01:42", "channel": None, "event": "reset", "data": None}
    [message] = parsed(formats.SSE.reset(CURSOR)).messages
    assert (message.event, message.id, message.body) == ("reset", "3f2a9c01:42", control)
    assert json.loads(formats.NDJSON.reset(CURSOR)) == control
    assert json.loads(formats.JSON_LIST.reset(CURSOR).removesuffix(b",")) == control
    [frame] = websocket_messages(formats.WEBSOCKET.reset(CURSOR))
    assert json.loads(frame.data) == control


def test_heartbeat_carries_the_cursor_and_pings_on_websocket() -> None:
    control = {"id": "3f2a9c01:42", "channel": None, "event": "heartbeat", "data": None}
    assert json.loads(formats.NDJSON.heartbeat(CURSOR)) == control
    text, ping = websocket_messages(formats.WEBSOCKET.heartbeat(CURSOR))
    assert json.loads(text.data) == control
    assert ping.opcode == 0x9
    assert formats.JSON_LIST.heartbeat(CURSOR) == b""


def dechunked(data: bytes) -> tuple[bytes, bool]:
    """Return the content of chunks, and whether the last chunk was among them."""
    content = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        content += rest[:length]
        assert rest[length : length + 2] == b"\r\n"
        data = rest[length + 2 :]
        if length == 0:
            assert data == b""
            return content, True
    return content, False


@given(events)
def test_chunked_is_the_same_bytes_framed(event: Event) -> None:
    plain, chunked = formats.SSE, formats.SSE_CHUNKED
    whole = plain.opening(1) + plain.event("e", event) + plain.reset(CURSOR)
    whole += plain.heartbeat(CURSOR) + plain.closing(FAREWELL)
    framed = chunked.opening(1) + chunked.event("e", event) + chunked.reset(CURSOR)
    framed += chunked.heartbeat(CURSOR) + chunked.closing(FAREWELL)
    assert dechunked(framed) == (whole, True)


def test_chunked_nothing_to_say_is_no_chunk_because_an_empty_one_would_end() -> None:
    assert formats.NDJSON_CHUNKED.opening(1) == b""
    assert formats.NDJSON_CHUNKED.ended() == b"0\r\n\r\n"
