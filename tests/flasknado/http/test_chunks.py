"""The chunked coding: any cut gives the same content, and it agrees with h11."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flasknado.errors import RequestError
from flasknado.http.chunks import MAX_SIZE_LINE_BYTES, ChunkedBody

space = st.sampled_from([b"", b" ", b"\t "])
token = st.sampled_from([b"a", b"b-1", b"!#"])
quoted = st.sampled_from([b'""', b'"a b"', b'"\\"; ="', b'"\xff"'])


@st.composite
def extensions(draw: st.DrawFn) -> bytes:
    """Return chunk extensions by the grammar of RFC 9112, section 7.1.1."""
    text = b""
    for _ in range(draw(st.integers(0, 3))):
        text += draw(space) + b";" + draw(space) + draw(token)
        if draw(st.booleans()):
            text += draw(space) + b"=" + draw(space) + draw(st.one_of(token, quoted))
    return text


@st.composite
def chunked(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Return a content and one of its chunked forms, up to the trailers."""
    parts = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=5))
    lines = [b"%x%b\r\n%b\r\n" % (len(part), draw(extensions()), part) for part in parts]
    return b"".join(parts), b"".join(lines) + b"00%b\r\n" % draw(extensions())


def decode(pieces: list[bytes]) -> tuple[bytes, bytes, bool]:
    body = ChunkedBody()
    content, rest = b"", b""
    for piece in pieces:
        if body.ended:
            rest += piece
            continue
        part, end = body.feed(piece, 0)
        content += part
        rest += piece[end:]
    return content, rest, body.ended


@given(chunked(), st.binary(max_size=10), st.lists(st.integers(0, 300), max_size=6))
def test_chunked_body_however_cut_gives_its_content(
    form: tuple[bytes, bytes], behind: bytes, cuts: list[int]
) -> None:
    content, data = form
    data += behind
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]

    assert decode(pieces) == (content, behind, True)


@given(chunked())
def test_chunked_body_byte_by_byte_gives_its_content(form: tuple[bytes, bytes]) -> None:
    content, data = form

    assert decode([data[i : i + 1] for i in range(len(data))]) == (content, b"", True)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"g\r\n",
        b"+1\r\n",
        b" 1\r\n",
        b"1 \r\n",
        b"0x1\r\n",
        b"1_0\r\n",
        b"1\n",
        b"1;\r\n",
        b"1;a=\r\n",
        b"1;=a\r\n",
        b"1;a b\r\n",
        b"1;a=b c\r\n",
        b'1;a="b\r\n',
        b'1;a="b"c\r\n',
        b"1;a\r;b\r\n",
        b"1;\x00\r\n",
        b"1" * 17 + b"\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n",
        b"1\r\naXX\r\n",
        b"1;" + b"a" * MAX_SIZE_LINE_BYTES,
        b"1\r\na" + b"\r" * 9,
    ],
)
def test_malformed_chunk_however_cut_is_refused(data: bytes) -> None:
    for pieces in ([data], [data[i : i + 1] for i in range(len(data))]):
        with pytest.raises(RequestError) as refusal:
            decode(pieces)
        assert refusal.value.status == 400
