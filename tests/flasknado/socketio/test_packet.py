"""Packets: what is written is read again, and what is none is refused, whatever it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flasknado.socketio.engineio.packet import Data, Outgoing, ProtocolError, packet_of
from flasknado.socketio.message import Joined, Message
from flasknado.socketio.msgpack import MsgpackParser
from flasknado.socketio.packet import (
    ACK,
    EVENT,
    MAX_ATTACHMENTS,
    MAX_CONTAINERS,
    DefaultParser,
    Incomplete,
    Packet,
    Parser,
    _containers,
)
from flasknado.socketio.room_names import room_key

PARSERS = [DefaultParser(), MsgpackParser()]

numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text() | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)
namespaces = st.just("/") | st.from_regex(r"/[A-Za-z0-9_\-/]{1,20}", fullmatch=True)
ids = st.none() | st.integers(0, 2**53)


def read(parser: Parser, pieces: list[Data]) -> Packet:
    """Return the packet that messages are."""
    packet = parser.begin(pieces[0])
    for piece in pieces[1:]:
        assert isinstance(packet, Incomplete)
        packet = packet.add(piece) or packet
    assert isinstance(packet, Packet)
    return packet


@pytest.mark.parametrize("parser", PARSERS, ids=["default", "msgpack"])
@given(namespace=namespaces, name=st.text(), args=st.lists(values, max_size=4), ack_id=ids)
def test_event_that_is_written_is_read_again(
    parser: Parser, namespace: str, name: str, args: list[Any], ack_id: int | None
) -> None:
    packet = Packet(EVENT, namespace, [name, *args], ack_id)
    assert read(parser, parser.encode(packet)) == packet


@pytest.mark.parametrize("parser", PARSERS, ids=["default", "msgpack"])
@given(args=st.lists(values, max_size=4), ack_id=st.integers(0, 2**53))
def test_acknowledgement_that_is_written_is_read_again(
    parser: Parser, args: list[Any], ack_id: int
) -> None:
    packet = Packet(ACK, "/", args, ack_id)
    assert read(parser, parser.encode(packet)) == packet


@pytest.mark.parametrize("parser", PARSERS, ids=["default", "msgpack"])
@given(data=st.text() | st.binary() | st.from_regex(r"[0-7][0-9]*-?(/[a-z]*,)?[0-9]*\[.*\]"))
def test_whatever_comes_is_a_packet_or_refused(parser: Parser, data: Data) -> None:
    try:
        packet = parser.begin(data)
        if isinstance(packet, Incomplete):
            for _ in range(MAX_ATTACHMENTS):
                if packet.add(b"") is not None:
                    return
    except ProtocolError:
        return
    assert isinstance(packet, Packet)


@given(text=st.text())
def test_whatever_comes_over_polling_is_a_packet_or_refused(text: str) -> None:
    try:
        kind, _ = packet_of(text)
    except ProtocolError:
        return
    assert kind in set("0123456")


@given(pieces=st.lists(st.text() | st.binary(), min_size=1, max_size=4))
def test_message_is_the_same_over_polling(pieces: list[Data]) -> None:
    # JSON escapes the separator.
    pieces = [p.replace("\x1e", "") if isinstance(p, str) else p for p in pieces]
    packets = Outgoing(pieces).packets.split("\x1e")
    assert [packet_of(packet) for packet in packets] == [("4", piece) for piece in pieces]


def test_joined_messages_are_those_messages_one_after_the_other() -> None:
    parser = PARSERS[0]
    one = Message(parser, Packet(EVENT, "/", ["a", b"\x00"]), offset=7)
    two = Message(parser, Packet(EVENT, "/", ["b"]))
    joined = Joined([one, two])
    assert joined.frames == one.frames + two.frames
    assert joined.packets == f"{one.packets}\x1e{two.packets}"
    assert joined.offset == 7


def test_rooms_of_different_kinds_are_different_rooms() -> None:
    rooms = ["5", 5, 5.0, b"5", ("5",), "\x00int:5", "\x00str:5", None, True]
    assert len({room_key(room) for room in rooms}) == len(rooms)
    with pytest.raises(TypeError):
        room_key([])  # type: ignore[arg-type]


@pytest.mark.parametrize("parser", PARSERS, ids=["default", "msgpack"])
@pytest.mark.parametrize("containers", [[[]], [{}], [[{}]]], ids=repr)
def test_packet_of_more_arrays_and_objects_than_are_decoded_in_a_turn_is_refused(
    parser: Parser, containers: list[Any]
) -> None:
    each = 1 if containers[0] in ([], {}) else 2
    fits = (MAX_CONTAINERS - 3) // each  # those of msgpack are in a map
    # In texts they are none.
    data = ["e", '[{"\\' * MAX_CONTAINERS, containers * fits]
    [text] = parser.encode(Packet(EVENT, "/", data))
    assert read(parser, [text]).data == data
    [text] = parser.encode(Packet(EVENT, "/", [*data, *containers * 3]))
    with pytest.raises(ProtocolError, match="at most 100,000 arrays and objects"):
        parser.begin(text)


@given(text=st.text('[{"\\\\]},') | st.text(), deep=st.integers(0, 3))
def test_arrays_and_objects_outside_of_strings_are_counted(text: str, deep: int) -> None:
    data: Any = text
    for _ in range(deep):
        data = [{text: data}]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flasknado.socketio.packet.MAX_CONTAINERS", -1)
        assert _containers(json.dumps(data)) == 2 * deep
