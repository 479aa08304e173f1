"""What the parser makes of bytes that its properties alone do not name."""

from __future__ import annotations

import pytest

from tests.flasknado.http.reading import our_reading

_HOST = b"Host: example.test\r\n"
_NEXT = b"GET /next HTTP/1.1\r\n" + _HOST + b"\r\n"
_UPGRADE = b"Upgrade: h2c\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    "last",
    [
        b"GET / HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + _HOST + b"Connection: close\r\nContent-Length: 3\r\n\r\nabc",
        b"GET / HTTP/1.1\r\n" + _HOST + _UPGRADE + b"Connection: Upgrade, close\r\n\r\n",
        b"POST / HTTP/1.1\r\n"
        + _HOST
        + _UPGRADE
        + b"Connection: close, Upgrade\r\nContent-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\n"
        + _HOST
        + _UPGRADE
        + b"Connection: close, Upgrade\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("pieces", ["whole", "bytes"])
def test_request_behind_the_last_one_of_a_connection_is_not_seen(last: bytes, pieces: str) -> None:
    data = last + _NEXT

    read = our_reading([data] if pieces == "whole" else [data[i : i + 1] for i in range(len(data))])

    assert [target for _, target, _ in read.requests] == ["/"]
    assert not read.refused


@pytest.mark.parametrize(
    "first",
    [
        b"GET /a HTTP/1.1\r\n" + _HOST + b"\r\n",
        b"BREW /a HTTP/1.1\r\n" + _HOST + b"\r\n",
        b"\r\nPOST /a HTTP/1.1\r\n" + _HOST + b"Content-Length: 3\r\n\r\nabc",
        b"POST /a HTTP/1.1\r\n" + _HOST + _CHUNKED + b"\r\n3\r\nabc\r\n0\r\n\r\n",
        b"GET /a HTTP/1.1\r\n" + _HOST + _UPGRADE + b"Connection: upgrade\r\n\r\n",
    ],
)
def test_two_requests_cut_at_any_place_are_both_seen(first: bytes) -> None:
    data = first + _NEXT

    for place in range(1, len(data)):
        read = our_reading([data[:place], data[place:]])
        assert [target for _, target, _ in read.requests] == ["/a", "/next"], data[:place]
        assert not read.refused
