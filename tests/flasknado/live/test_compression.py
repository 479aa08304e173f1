"""What is compressed once for all clients, and what of theirs is inflated."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from flasknado.errors import ConfigurationError
from flasknado.live.compression import accepts_gzip, compress
from flasknado.native.websocket_handshake import permessage_deflate
from flasknado.websocket.codec import Receiver, WebSocketError, masked
from tests.flasknado.live.helpers import LiveApp

OFFER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def frame_of(payload: bytes, first: int = 0xC1) -> bytes:
    """Return a client's frame, by default a compressed text."""
    mask, size = b"abcd", len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([first]) + length + mask + masked(payload, mask)


def test_limit_is_of_what_a_message_inflates_to() -> None:
    limit = 1000
    receiver = Receiver(limit, inflates=True)
    with pytest.raises(WebSocketError, match="larger than 1000 bytes") as refused:
        list(receiver.receive(frame_of(compress(b"0" * 1001))))
    assert refused.value.code == 1009
    (message,) = Receiver(limit, inflates=True).receive(frame_of(compress(b"0" * 1000)))
    assert message.payload == b"0" * 1000


@pytest.mark.parametrize(
    ("payload", "first", "code"),
    [
        (b"\xff" * 200, 0xC1, 1007),  # no deflate
        (compress(b"\xff" * 200) + bytes(100), 0xC1, 1007),  # no text
        (b"x" * 200, 0xA1, 1002),  # another reserved bit
        (b"x" * 200, 0xF1, 1002),
    ],
)
def test_message_that_does_not_decompress_is_refused(payload: bytes, first: int, code: int) -> None:
    with pytest.raises(WebSocketError) as refused:
        list(Receiver(16384, inflates=True).receive(frame_of(payload, first)))
    assert refused.value.code == code


def test_compressed_message_is_refused_where_none_was_agreed() -> None:
    with pytest.raises(WebSocketError, match="reserved bit"):
        list(Receiver(16384).receive(frame_of(compress(b"x" * 200))))


@given(st.lists(st.binary(max_size=2000), max_size=6), st.data())
def test_pieces_join_into_one_stream_whichever_are_left_out(
    pieces: list[bytes], data: st.DataObject
) -> None:
    """So the same bytes serve a client that has got everything, and one that joined just now."""
    taken = [piece for piece in pieces if data.draw(st.booleans())]
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    assert inflater.decompress(b"".join(map(compress, taken))) == b"".join(taken)


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("", None),
        ("permessage-deflate", OFFER),
        ("permessage-deflate; client_max_window_bits", OFFER),
        ("permessage-deflate; client_max_window_bits=10; server_no_context_takeover", OFFER),
        ('permessage-deflate; server_max_window_bits="15"', OFFER),
        ("permessage-deflate; server_max_window_bits=10, permessage-deflate", OFFER),
        ("permessage-deflate; server_max_window_bits=10", None),
        ("permessage-deflate; client_max_window_bits=7", None),
        ("permessage-deflate; server_no_context_takeover=1", None),
        ("permessage-deflate; something", None),
        ("x-webkit-deflate-frame", None),
    ],
)
def test_offer_is_taken_if_each_message_may_stand_for_itself(
    offer: str, answer: str | None
) -> None:
    headers = HTTPHeaders({"Host": "a"} | ({"Sec-WebSocket-Extensions": offer} if offer else {}))
    line = RequestStartLine("GET", "/", "HTTP/1.1")
    assert permessage_deflate(HTTPServerRequest(start_line=line, headers=headers)) == answer


@pytest.mark.parametrize(
    ("accepted", "taken"),
    [
        ("", False),
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
        ("identity", False),
        ("gzipped", False),
    ],
)
def test_gzip_is_for_those_that_accept_it(accepted: str, taken: bool) -> None:
    assert accepts_gzip(accepted) is taken


def test_setting_that_is_no_truth_is_refused(make_live_app: Callable[..., LiveApp]) -> None:
    with pytest.raises(
        ConfigurationError, match="LIVE_COMPRESSION must be True or False, not 'on'"
    ):
        make_live_app(LIVE_COMPRESSION="on")
