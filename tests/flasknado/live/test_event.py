"""Events, cursors and the rules for their names."""

from __future__ import annotations

import datetime
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flasknado.live.errors import InvalidCursor, InvalidEvent
from flasknado.live.event import (
    MAX_OFFSET,
    Cursor,
    check_channel,
    check_name,
    encode_data,
    parse_cursor,
)

epochs = st.text("0123456789abcdefXYZ", min_size=1, max_size=32)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(epochs, st.integers(0, MAX_OFFSET))
def test_cursor_any_place_reads_back_as_written(epoch: str, offset: int) -> None:
    assert parse_cursor(str(Cursor(epoch, offset))) == Cursor(epoch, offset)


@given(st.text())
def test_cursor_any_text_is_refused_or_canonical(text: str) -> None:
    try:
        cursor = parse_cursor(text)
    except InvalidCursor:
        return
    assert str(cursor) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", ":", "a:", ":1", "a:-1", "a:+1", "a:01", "a:1 ", "a:1\n", "a b:1", "a:1:2"),
        *("a:\u0663", f"a:{MAX_OFFSET + 1}", "a" * 33 + ":1", "a:1e3"),
    ],
)
def test_cursor_malformed_is_refused_with_the_text_and_an_example(text: str) -> None:
    with pytest.raises(InvalidCursor, match="is not a cursor") as refused:
        parse_cursor(text)
    assert ascii(text[:80]) in str(refused.value)
    assert "3f2a9c01:42" in str(refused.value)


@pytest.mark.parametrize("channel", ["posts", "post:42", "user/7", "a", "A.b-c_d@e+f=g", "x" * 128])
def test_channel_well_named_is_accepted(channel: str) -> None:
    assert check_channel(channel) == channel


@pytest.mark.parametrize("channel", ["", "x" * 129, "a b", "-a", "a,b", "a\n", "ä", "a*", "\0"])
def test_channel_badly_named_is_refused_with_the_rule(channel: str) -> None:
    with pytest.raises(InvalidEvent, match="1 to 128 ASCII letters"):
        check_channel(channel)


@pytest.mark.parametrize("name", ["post.created", "новость", "a b", "message", "x" * 128])
def test_event_name_well_formed_is_accepted(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb", "a\rb", "a\0b", "a\u2028b", "\ud800"])
def test_event_name_malformed_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(InvalidEvent, match="1 to 128 characters"):
        check_name(name)


@pytest.mark.parametrize("name", ["open", "error", "reset", "heartbeat"])
def test_event_name_of_the_protocol_is_refused(name: str) -> None:
    with pytest.raises(InvalidEvent, match="reserved for the protocol"):
        check_name(name)


@pytest.mark.parametrize("check", [check_channel, check_name])
def test_name_that_is_no_string_is_refused(check: object) -> None:
    with pytest.raises(InvalidEvent, match="not int"):
        check(7)  # type: ignore[operator]


@given(json_values)
def test_data_any_json_reads_back_from_one_line_of_utf8(value: object) -> None:
    text = encode_data(value, max_data_bytes=10**6)
    text.encode()
    assert len(text.splitlines()) == 1
    assert json.loads(text) == value


def test_data_lone_surrogate_is_escaped() -> None:
    assert encode_data("\ud800", max_data_bytes=100) == '"\\ud800"'


def test_data_unknown_type_is_written_by_default() -> None:
    assert encode_data({"at": datetime.date(2026, 1, 2)}, 100, str) == '{"at":"2026-01-02"}'


@pytest.mark.parametrize("data", [object(), {1, 2}, math.nan, b"bytes"])
def test_data_not_json_is_refused(data: object) -> None:
    with pytest.raises(InvalidEvent, match="JSON serializable"):
        encode_data(data, max_data_bytes=1000)


def test_data_too_deep_is_refused() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidEvent, match="JSON serializable"):
        encode_data(deep, max_data_bytes=10**6)


def test_data_over_the_limit_is_refused_with_its_size_in_bytes() -> None:
    assert encode_data("é" * 4, max_data_bytes=10) == '"éééé"'
    with pytest.raises(InvalidEvent, match=r"10 bytes \(LIVE_MAX_DATA_BYTES\), not 12"):
        encode_data("é" * 5, max_data_bytes=10)
