"""What must hold for any bytes: the same requests however split, no crash, none that h11 misses."""

from __future__ import annotations

import contextlib
import string
from urllib.parse import unquote_to_bytes

from hypothesis import given, settings
from hypothesis import strategies as st

from flasknado.errors import RequestError
from flasknado.http.head import parse_head
from tests.flasknado.http.reading import differs, our_reading
from tests.flasknado.http.refusals import all_refusals

token = st.text("abcXYZ-09!", min_size=1, max_size=8).map(str.encode)
value = st.text("abc 09;=,\t", max_size=12).map(lambda text: text.strip().encode())
body = st.binary(max_size=40)
path = st.text("abc/?=&%.", max_size=12).map(lambda text: b"/" + text.encode())
method = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"BREW", b"get"])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Return a valid request."""
    fields = [b"Host: example.test"]
    fields += [b"X-%b: %b" % pair for pair in draw(st.lists(st.tuples(token, value), max_size=4))]
    if draw(st.booleans()):
        fields.append(b"Connection: keep-alive")
    content = draw(body)
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    if framing == "none":
        content = b""
    elif framing == "length":
        fields.append(b"Content-Length: %d" % len(content))
    else:
        fields.append(b"Transfer-Encoding: chunked")
        cut = draw(st.integers(0, len(content)))
        parts = [part for part in (content[:cut], content[cut:]) if part]
        chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
        content = b"".join(chunks) + b"0\r\n\r\n"
    head = b"\r\n".join([b"%b %b HTTP/1.1" % (draw(method), draw(path)), *fields])
    return head + b"\r\n\r\n" + content


pipelines = st.lists(requests(), min_size=1, max_size=5).map(b"".join)
malformed = st.sampled_from([refusal.request for refusal in all_refusals()])


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return valid requests with a few bytes changed, put in or taken out."""
    data = bytearray(draw(pipelines))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        put = draw(
            st.sampled_from([b"", b"\r", b"\n", b"\0", b" ", b":", b"\t", b"0", b"\r\n", b"\xff"])
        )
        data[at : at + draw(st.integers(0, 2))] = put
    return bytes(data)


def split(data: bytes, places: list[int]) -> list[bytes]:
    cuts = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if a < b]


@settings(max_examples=300, deadline=None)
@given(pipelines | damaged(), st.lists(st.integers(0, 10_000), max_size=12))
def test_any_split_of_the_same_bytes_gives_the_same_requests(
    data: bytes, places: list[int]
) -> None:
    whole = our_reading([data])

    assert our_reading(split(data, places)).requests == whole.requests
    assert our_reading([data[i : i + 1] for i in range(len(data))]).requests == whole.requests


@settings(max_examples=300, deadline=None)
@given(pipelines)
def test_valid_requests_are_seen_as_h11_sees_them(data: bytes) -> None:
    assert not our_reading([data]).refused
    assert not differs(data)


@settings(max_examples=600, deadline=None)
@given(damaged())
def test_no_request_is_seen_that_h11_does_not_see(data: bytes) -> None:
    assert not differs(data)


@settings(max_examples=100, deadline=None)
@given(pipelines, malformed)
def test_requests_before_a_malformed_one_are_seen_and_no_more(good: bytes, bad: bytes) -> None:
    seen = our_reading([good])
    both = our_reading([good + bad])

    assert both.requests == seen.requests or both.requests[: len(seen.requests)] == seen.requests
    assert not differs(good + bad) or b"PRI" in bad


@settings(max_examples=500, deadline=None)
@given(
    st.text(max_size=8),
    st.text(max_size=20),
    st.sampled_from(["1.1", "1.0", "0.9", "2.0", "", "x"]),
    st.lists(
        st.tuples(
            st.sampled_from(
                [b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect"]
            )
            | st.binary(max_size=6),
            st.binary(max_size=20),
        ),
        max_size=5,
    ),
)
def test_parse_head_either_returns_or_refuses(
    method: str, target: str, version: str, fields: list[tuple[bytes, bytes]]
) -> None:
    with contextlib.suppress(RequestError):
        head = parse_head(method, target, version, fields)
        assert head.path.startswith("/") or head.path == "*"
        assert not (head.chunked and head.content_length is not None)


@settings(max_examples=500, deadline=None)
@given(st.text("%/aA~4125Ee7.-", max_size=16))
def test_path_means_the_same_when_what_need_not_be_encoded_is_decoded(path: str) -> None:
    target = "/" + path
    head = parse_head("GET", target, "1.1", [(b"Host", b"a")])

    assert head.target == target
    assert unquote_to_bytes(head.path) == unquote_to_bytes(target)
    again = parse_head("GET", head.path, "1.1", [(b"Host", b"a")])
    assert again.path == head.path


@given(st.text(string.ascii_letters + string.digits + "-._~/", max_size=12))
def test_path_is_the_same_however_it_is_encoded(path: str) -> None:
    encoded = "/" + "".join(c if c == "/" else f"%{ord(c):02x}" for c in path)

    assert parse_head("GET", encoded, "1.1", [(b"Host", b"a")]).path == "/" + path
