"""The frame codec: against RFC 6455's own examples, the `websockets` library, and properties."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Opcode
from websockets.protocol import CLIENT
from websockets.protocol import Protocol as Peer

from flasknado.websocket import codec
from flasknado.websocket.codec import Message, Receiver, WebSocketError
from tests.flasknado.websocket.frames import client_frame

LIMIT_BYTES = 1 << 20


def received(data: bytes, sizes: Iterator[int] | None = None, limit: int = LIMIT_BYTES) -> list:
    """Return all messages in `data`, which comes in parts of these sizes."""
    receiver = Receiver(limit)
    messages: list[Message] = []
    while data:
        size = next(sizes, len(data)) if sizes is not None else len(data)
        part, data = data[:size], data[size:]
        messages.extend(receiver.receive(part))
    return messages


def error_of(data: bytes, limit: int = LIMIT_BYTES) -> WebSocketError:
    with pytest.raises(WebSocketError) as caught:
        received(data, limit=limit)
    return caught.value


def test_example_of_a_masked_text_in_the_rfc() -> None:
    data = bytes.fromhex("818537fa213d7f9f4d5158")
    assert received(data) == [Message(codec.TEXT, b"Hello")]


@given(st.text(max_size=130), st.sampled_from((codec.TEXT, codec.BINARY, codec.PING)))
def test_whole_text_is_what_is_received_or_nothing(text: str, opcode: int) -> None:
    payload = text.encode()[: 125 if opcode == codec.PING else None]
    data = client_frame(opcode, payload)
    usual = opcode == codec.TEXT and text.isascii() and len(text) <= 125
    assert Receiver(LIMIT_BYTES).whole_text(data) == (payload if usual else None)
    assert received(data) == [Message(opcode, payload)]
    for other in (data[:-1], data + b"\x81", data[1:], b""):
        assert Receiver(LIMIT_BYTES).whole_text(other) is None


def test_whole_text_is_left_to_what_was_before_it() -> None:
    data = client_frame(codec.TEXT, b"text")
    assert Receiver(3).whole_text(data) is None
    for before in (data[:3], client_frame(codec.TEXT, b"a", final=False)):
        receiver = Receiver(LIMIT_BYTES)
        assert list(receiver.receive(before)) == []
        assert receiver.whole_text(data) is None
    receiver = Receiver(LIMIT_BYTES)
    assert list(receiver.receive(data)) == [Message(codec.TEXT, b"text")]
    assert receiver.whole_text(data) == b"text"
    assert list(receiver.receive(client_frame(codec.CLOSE)))
    assert receiver.whole_text(data) is None


def test_example_of_an_unmasked_text_in_the_rfc() -> None:
    assert codec.frame(codec.TEXT, b"Hello") == bytes.fromhex("810548656c6c6f")


messages = st.lists(
    st.one_of(
        st.tuples(st.just(codec.TEXT), st.text(max_size=300).map(str.encode)),
        st.tuples(st.just(codec.BINARY), st.binary(max_size=300)),
        st.tuples(st.sampled_from((codec.PING, codec.PONG)), st.binary(max_size=125)),
    ),
    max_size=8,
)


@given(messages, st.lists(st.integers(1, 40)), st.data())
def test_whatever_the_library_sends_in_any_fragments_and_parts_comes_out(
    sent: list[tuple[int, bytes]], sizes: list[int], data: st.DataObject
) -> None:
    wire = b""
    for opcode, payload in sent:
        if opcode in (codec.PING, codec.PONG):
            wire += client_frame(opcode, payload)
            continue
        cuts = sorted(data.draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        edges = [0, *cuts, len(payload)]
        pieces = [payload[a:b] for a, b in itertools.pairwise(edges)]
        for n, piece in enumerate(pieces):
            kind = opcode if n == 0 else codec.CONTINUATION
            wire += client_frame(kind, piece, final=n == len(pieces) - 1)
    assert received(wire, iter(sizes)) == sent


@given(st.binary(max_size=400), st.lists(st.integers(1, 40)))
def test_garbage_is_messages_or_an_error_and_never_anything_else(
    data: bytes, sizes: list[int]
) -> None:
    code = None
    try:
        received(data, iter(sizes))
    except WebSocketError as error:
        code = error.code
    assert code in (None, 1002, 1007, 1009)


@given(st.binary(max_size=70_000))
def test_frames_are_read_by_the_library(payload: bytes) -> None:
    peer = Peer(CLIENT, max_size=None)
    peer.receive_data(codec.frame(codec.BINARY, payload) + codec.close_frame(1000, "bye"))
    binary, close = peer.events_received()
    assert (binary.opcode, binary.data) == (Opcode.BINARY, payload)
    assert close.opcode == Opcode.CLOSE
    assert peer.close_rcvd is not None
    assert (peer.close_rcvd.code, peer.close_rcvd.reason) == (1000, "bye")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 1 << 19])
def test_sizes_at_the_edges_of_the_length_field_come_out(size: int) -> None:
    payload = os.urandom(size)
    assert received(client_frame(codec.BINARY, payload)) == [Message(codec.BINARY, payload)]


def test_control_frame_comes_out_between_the_fragments_of_a_message() -> None:
    wire = (
        client_frame(codec.TEXT, b"a", final=False)
        + client_frame(codec.PING, b"p")
        + client_frame(codec.CONTINUATION, b"b")
    )
    assert received(wire) == [Message(codec.PING, b"p"), Message(codec.TEXT, b"ab")]


def test_letter_cut_between_two_fragments_is_whole_again() -> None:
    text = "é".encode()
    wire = client_frame(codec.TEXT, text[:1], final=False)
    assert received(wire + client_frame(codec.CONTINUATION, text[1:])) == [
        Message(codec.TEXT, text)
    ]


@pytest.mark.parametrize(
    ("case", "wire"),
    [
        ("reserved bit", bytes([0xC1, 0x80]) + b"\0" * 4),
        ("reserved data opcode", bytes([0x83, 0x80]) + b"\0" * 4),
        ("reserved control opcode", bytes([0x8B, 0x80]) + b"\0" * 4),
        ("not masked", codec.frame(codec.TEXT, b"a")),
        ("control frame too long", bytes([0x89, 0xFE, 0, 126])),
        ("control frame in fragments", bytes([0x09, 0x80]) + b"\0" * 4),
        ("continuation of nothing", client_frame(codec.CONTINUATION, b"a")),
        ("new message inside one", client_frame(codec.TEXT, final=False) * 2),
        ("length not the shortest of 16 bits", bytes([0x82, 0xFE, 0, 125])),
        ("length not the shortest of 64 bits", bytes([0x82, 0xFF]) + (65535).to_bytes(8, "big")),
        ("length of 64 bits", bytes([0x82, 0xFF]) + b"\xff" * 8),
        ("closing frame of one byte", client_frame(codec.CLOSE, b"\x03")),
        *(
            (f"close code {code}", client_frame(codec.CLOSE, code.to_bytes(2, "big")))
            for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
        ),
    ],
)
def test_violation_of_the_protocol_is_1002(case: str, wire: bytes) -> None:
    assert error_of(wire).code == 1002


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1011, 1014, 3000, 4999])
def test_closing_frame_with_a_valid_code_comes_out_and_ends(code: int) -> None:
    wire = client_frame(codec.CLOSE, code.to_bytes(2, "big") + "tschüß".encode())
    (message,) = received(wire + client_frame(codec.TEXT, b"late"))
    assert (message.opcode, message.close_code) == (codec.CLOSE, code)


@pytest.mark.parametrize(
    "wire",
    [
        client_frame(codec.TEXT, b"\xff"),
        client_frame(codec.TEXT, b"a\xc3"),
        client_frame(codec.TEXT, "\ud800".encode("utf-8", "surrogatepass")),
        client_frame(codec.TEXT, b"\xc3", final=False) + client_frame(codec.CONTINUATION),
        client_frame(codec.CLOSE, b"\x03\xe8\xff"),
    ],
)
def test_text_that_is_not_utf8_is_1007(wire: bytes) -> None:
    assert error_of(wire).code == 1007


def test_text_that_cannot_become_utf8_is_refused_before_its_last_fragment() -> None:
    assert error_of(client_frame(codec.TEXT, b"\xf5", final=False)).code == 1007


def test_message_over_the_limit_is_refused_by_its_header_alone() -> None:
    header = bytes([0x82, 0xFE]) + (1001).to_bytes(2, "big")
    assert error_of(header, limit=1000).code == 1009
    fragments = client_frame(codec.BINARY, b"x" * 600, final=False)
    fragments += client_frame(codec.CONTINUATION, b"x" * 401)
    assert error_of(fragments, limit=1000).code == 1009
    exactly = client_frame(codec.BINARY, b"x" * 1000)
    assert received(exactly, limit=1000) == [Message(codec.BINARY, b"x" * 1000)]


def test_messages_before_a_violation_come_out_first() -> None:
    receiver = Receiver(LIMIT_BYTES)
    stream = receiver.receive(client_frame(codec.TEXT, b"good") + b"\xff\xff")
    assert next(stream).payload == b"good"
    with pytest.raises(WebSocketError):
        next(stream)
    assert list(receiver.receive(client_frame(codec.TEXT, b"late"))) == []


def test_reason_of_a_closing_frame_is_cut_between_letters() -> None:
    data = codec.close_frame(1008, "é" * 100)
    assert len(data) <= 2 + 125
    assert data[4:].decode() == "é" * 61


def test_close_without_a_code_has_no_payload() -> None:
    assert codec.close_frame(None) == b"\x88\x00"
    assert received(client_frame(codec.CLOSE))[0].close_code is None
