"""The rules of RFC 9110 for conditional requests, ranges and encodings."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.http import is_resource_modified, parse_range_header

from flasknado.static.conditions import UNSATISFIABLE, Part, encoding_of, part_of, status_of

ETAG = '"18eb-10"'
AT_S = 1_700_000_000
SAME = "Tue, 14 Nov 2023 22:13:20 GMT"
BEFORE = "Tue, 14 Nov 2023 22:13:19 GMT"
AFTER = "Tue, 14 Nov 2023 22:13:21 GMT"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({b"if-none-match": ETAG}, 304),
        ({b"if-none-match": f"W/{ETAG}"}, 304),
        ({b"if-none-match": f'"a", {ETAG}'}, 304),
        ({b"if-none-match": "*"}, 304),
        ({b"if-none-match": '"a"'}, 200),
        ({b"if-none-match": '"a"', b"if-modified-since": SAME}, 200),  # the tag goes before
        ({b"if-modified-since": SAME}, 304),
        ({b"if-modified-since": AFTER}, 304),
        ({b"if-modified-since": BEFORE}, 200),
        ({b"if-modified-since": "yesterday"}, 200),
        ({b"if-modified-since": "Tue, 14 Nov 99999999999 22:13:20 GMT"}, 200),
        ({b"if-match": ETAG}, 200),
        ({b"if-match": "*"}, 200),
        ({b"if-match": f"W/{ETAG}"}, 412),  # compared strongly
        ({b"if-match": '"a"'}, 412),
        ({b"if-match": '"a"', b"if-none-match": ETAG}, 412),
        ({b"if-match": ETAG, b"if-none-match": ETAG}, 304),
        ({b"if-unmodified-since": SAME}, 200),
        ({b"if-unmodified-since": BEFORE}, 412),
        ({b"if-unmodified-since": BEFORE, b"if-match": ETAG}, 200),
    ],
)
def test_preconditions_are_judged_in_order(fields: dict[bytes, str], status: int) -> None:
    assert status_of(fields, ETAG, AT_S) == status


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({}, None),
        ({b"range": "bytes=0-0"}, Part(0, 1)),
        ({b"range": "bytes=4-"}, Part(4, 6)),
        ({b"range": "bytes=4-400"}, Part(4, 6)),
        ({b"range": "bytes=-3"}, Part(7, 3)),
        ({b"range": "bytes=-300"}, Part(0, 10)),
        ({b"range": "bytes=-0"}, UNSATISFIABLE),
        ({b"range": "bytes=10-"}, UNSATISFIABLE),
        ({b"range": f"bytes={'9' * 5000}-"}, UNSATISFIABLE),
        ({b"range": "bytes=5-4"}, None),
        ({b"range": "bytes=-"}, None),
        ({b"range": "bytes=0-1,3-4"}, None),
        ({b"range": "lines=0-1"}, None),
        ({b"range": "bytes=a-b"}, None),
        ({b"range": "bytes=0-1", b"if-range": ETAG}, Part(0, 2)),
        ({b"range": "bytes=0-1", b"if-range": f"W/{ETAG}"}, None),
        ({b"range": "bytes=0-1", b"if-range": '"a"'}, None),
        ({b"range": "bytes=0-1", b"if-range": SAME}, Part(0, 2)),
        ({b"range": "bytes=0-1", b"if-range": AFTER}, None),
    ],
)
def test_range_is_a_part_of_the_file(fields: dict[bytes, str], part: Part | None) -> None:
    assert part_of(fields, 10, ETAG, AT_S) == part


def test_no_part_of_an_empty_file_can_be_had() -> None:
    assert part_of({b"range": "bytes=0-"}, 0, ETAG, AT_S) is UNSATISFIABLE
    assert part_of({b"range": "bytes=-1"}, 0, ETAG, AT_S) is UNSATISFIABLE


@given(
    st.from_regex(r"bytes=[0-9]{0,3}-[0-9]{0,3}", fullmatch=True),
    st.integers(min_value=1, max_value=200),
)
def test_range_is_what_werkzeug_understands(text: str, size_bytes: int) -> None:
    theirs = parse_range_header(text)
    part = part_of({b"range": text}, size_bytes, ETAG, AT_S)
    if theirs is None:
        assert part in (None, UNSATISFIABLE)  # it takes -0 for malformed
        return
    bounds = theirs.range_for_length(size_bytes)
    suffix = text.removeprefix("bytes=-")
    if suffix.isdigit() and int(suffix) > size_bytes:
        assert part == Part(0, size_bytes)  # the whole, by section 14.1.2; Werkzeug answers 416
    elif bounds is None:
        assert part is UNSATISFIABLE
    else:
        assert part == Part(bounds[0], bounds[1] - bounds[0])


@given(st.lists(st.sampled_from([ETAG, f"W/{ETAG}", '"a"', 'W/"b"', '""']), max_size=3))
def test_tags_are_compared_as_werkzeug_does(tags: list[str]) -> None:
    text = ", ".join(tags)
    modified = is_resource_modified(
        {"REQUEST_METHOD": "GET", "HTTP_IF_NONE_MATCH": text}, etag=ETAG.strip('"')
    )
    assert (status_of({b"if-none-match": text}, ETAG, AT_S) == 200) is (modified or not tags)


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("", ""),
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("br;q=0, gzip", "gzip"),
        ("*", "br"),
        ("br;q=0, *;q=0.1", "zstd"),
        ("identity", ""),
        ("br;q=much", ""),
        ("br; q=0.5", "br"),
        (",;,q=1", ""),
    ],
)
def test_encoding_is_the_first_that_is_accepted(accepted: str, chosen: str) -> None:
    assert encoding_of(accepted, ["br", "zstd", "gzip"]) == chosen


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=60))
def test_no_field_raises(text: str) -> None:
    names = (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since")
    for name in names:
        assert status_of({name: text}, ETAG, AT_S) in (200, 304, 412)
    part_of({b"range": f"bytes={text}", b"if-range": text}, 10, ETAG, AT_S)
    assert encoding_of(text, ["br"]) in ("", "br")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"range", "bytes=" + " " * 60_000 + "x"),
        (b"range", "bytes=0" + " \t" * 30_000 + "x"),
        (b"range", "bytes=0-" + "9" * 60_000),
        (b"if-none-match", '"a ' * 20_000),
        (b"if-none-match", "W/" * 30_000),
        (b"if-modified-since", "1 " * 30_000),
    ],
)
def test_long_field_takes_time_that_grows_with_its_length(name: bytes, value: str) -> None:
    began_s = time.thread_time()
    status_of({name: value}, ETAG, AT_S)
    part_of({name: value}, 16, ETAG, AT_S)
    encoding_of(value, ["gzip"])
    assert time.thread_time() - began_s < 0.25
