"""The head of a response by plain calls: what may reach the wire."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flasknado.http.encode import encode_head
from flasknado.wsgi.response_head import HOP_BY_HOP, ApplicationError, checked_head


def values_of(fields: list[tuple[str, str]], name: str) -> list[str]:
    return [value for key, value in fields if key.lower() == name.lower()]


def test_list_of_the_application_is_copied_and_not_changed() -> None:
    headers = [("X-A", "a"), ("Content-Length", "3")]
    before = list(headers)
    head = checked_head("200 OK", headers, "GET")
    assert headers == before
    assert head.headers is not headers
    assert head.headers[:2] == before


def test_date_and_server_are_added_once() -> None:
    head = checked_head("200 OK", [], "GET")
    assert len(values_of(head.headers, "Date")) == 1
    assert values_of(head.headers, "Server") == ["flasknado"]


def test_date_and_server_of_the_application_are_kept() -> None:
    head = checked_head("200 OK", [("date", "then"), ("SERVER", "mine")], "GET")
    assert values_of(head.headers, "Date") == ["then"]
    assert values_of(head.headers, "Server") == ["mine"]


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        ("200 OK", 200, "OK"),
        ("200", 200, "OK"),
        ("200 ", 200, "OK"),
        ("299", 299, ""),
        ("404 not  here\ttoday", 404, "not  here\ttoday"),
        ("404 caf\xe9", 404, "caf\xe9"),
        ("999 X", 999, "X"),
    ],
)
def test_status_is_read(status: str, code: int, reason: str) -> None:
    head = checked_head(status, [], "GET")
    assert (head.status, head.reason) == (code, reason)


@pytest.mark.parametrize(
    ("status", "method", "has_body"),
    [
        ("200 OK", "GET", True),
        ("200 OK", "HEAD", False),
        ("204 No Content", "GET", False),
        ("205 Reset Content", "GET", True),
        ("304 Not Modified", "GET", False),
        ("304 Not Modified", "HEAD", False),
        ("500 Oh", "POST", True),
    ],
)
def test_body_belongs_to_what_may_have_one(status: str, method: str, has_body: bool) -> None:
    assert checked_head(status, [], method).has_body is has_body


@pytest.mark.parametrize(
    ("status", "kept"), [("200 OK", ["7"]), ("204 No Content", []), ("304 Not Modified", ["7"])]
)
def test_length_is_kept_but_on_204(status: str, kept: list[str]) -> None:
    head = checked_head(status, [("Content-Length", "7")], "GET")
    assert values_of(head.headers, "Content-Length") == kept


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP - {"keep-alive"}))
def test_field_about_the_connection_is_refused_with_its_name(name: str) -> None:
    with pytest.raises(ApplicationError, match=name.upper()):
        checked_head("200 OK", [(name.upper(), "x")], "GET")


@pytest.mark.parametrize(
    "field",
    [
        ("Connection", "keep-alive"),
        ("connection", "Close"),
        ("Keep-Alive", "timeout=5"),
        ("Transfer-Encoding", "chunked"),
        ("transfer-encoding", "Chunked"),
    ],
)
def test_wish_for_the_connection_is_dropped(field: tuple[str, str]) -> None:
    for _ in range(2):  # the second time, the field is known
        head = checked_head("200 OK", [field, ("X-Kept", "yes")], "GET")
        names = [name for name, _ in head.headers]
        assert field[0] not in names
        assert "X-Kept" in names


@pytest.mark.parametrize("content_type", ["text/event-stream", "Text/Event-Stream; charset=utf-8"])
@pytest.mark.parametrize(
    ("own", "sent"),
    [([], ["no"]), (["yes"], ["yes"]), (["no"], ["no"])],
    ids=["silent", "wants buffers", "wants none"],
)
def test_event_stream_asks_not_to_be_buffered_unless_it_says_otherwise(
    content_type: str, own: list[str], sent: list[str]
) -> None:
    fields = [("content-type", content_type), *(("x-accel-buffering", value) for value in own)]
    for _ in range(2):
        head = checked_head("200 OK", fields, "GET")
        assert values_of(head.headers, "X-Accel-Buffering") == sent
        lines = b"".join(head.lines).lower()
        assert lines.count(b"x-accel-buffering: %b" % sent[0].encode()) == 1


@pytest.mark.parametrize("content_type", ["text/html", "text/event-streams"])
def test_response_that_is_no_event_stream_says_nothing_of_buffering(content_type: str) -> None:
    head = checked_head("200 OK", [("Content-Type", content_type)], "GET")
    assert values_of(head.headers, "X-Accel-Buffering") == []


def test_field_of_a_proxy_is_the_applications_to_send() -> None:
    head = checked_head("407 Proxy", [("Proxy-Authenticate", "Basic")], "GET")
    assert values_of(head.headers, "Proxy-Authenticate") == ["Basic"]


@pytest.mark.parametrize(
    ("status", "headers", "told"),
    [
        (200, [], "not 200"),
        ("nonsense", [], "'nonsense'"),
        ("200 OK", {"X-A": "a"}, "dict"),
        ("200 OK", [["X-A", "a"]], "tuple"),
        ("200 OK", [("X A", "a")], "'X A'"),
        ("200 OK", [("X-A", 5)], "X-A must be a str, not 5"),
        ("200 OK", [("X-A", "a\r\nb")], r"X-A has a control character: 'a\r\nb'"),
        ("200 OK", [("X-A", "\N{SNOWMAN}")], "X-A is not latin-1"),
        ("200 OK", [("Content-Length", "ten")], "'ten'"),
    ],
)
def test_refusal_names_the_offending_value(status: Any, headers: Any, told: str) -> None:
    with pytest.raises(ApplicationError, match=re.escape(told)):
        checked_head(status, headers, "GET")


STATUS = st.one_of(
    st.text(max_size=12),
    st.text(st.characters(max_codepoint=300), max_size=12).map(lambda reason: "200 " + reason),
    st.integers(),
    st.none(),
)
NAME = st.one_of(st.text(max_size=8), st.sampled_from(("X-A", "Content-Length", "Date", "te")))
FIELD = st.one_of(
    st.tuples(NAME, st.text(max_size=12)),
    st.tuples(NAME, st.text("0123456789 +-_\r\n\x00\xe9", max_size=6)),
    st.tuples(NAME, st.integers() | st.none() | st.binary(max_size=4)),
    st.lists(st.text(max_size=4), max_size=3),
)
HEADERS = st.one_of(st.lists(FIELD, max_size=5), st.none(), st.dictionaries(NAME, st.text()))


@given(STATUS, HEADERS, st.sampled_from(("GET", "HEAD", "POST")))
def test_any_head_is_refused_or_is_well_formed_on_the_wire(
    status: Any, headers: Any, method: str
) -> None:
    try:
        head = checked_head(status, headers, method)
    except ApplicationError:
        return
    wire = encode_head(head, b"")
    assert wire.endswith(b"\r\n\r\n")
    lines = wire[:-4].split(b"\r\n")
    assert re.fullmatch(rb"HTTP/1\.1 [2-9][0-9]{2} [\t\x20-\x7e\x80-\xff]*", lines[0])
    assert len(lines) == 1 + len(head.headers)
    for line in lines[1:]:
        assert re.fullmatch(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [\t\x20-\x7e\x80-\xff]*", line)
    names = {name.lower() for name, _ in head.headers}
    assert {"date", "server"} <= names
    assert not names & HOP_BY_HOP
