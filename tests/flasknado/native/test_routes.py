"""Telling native paths from ordinary ones: quickly, and never otherwise than the patterns do."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.web import RequestHandler

from flasknado.native.routes import NativeRoutes, literal_beginning


@pytest.mark.parametrize(
    ("pattern", "beginning"),
    [
        (r"/live/(\w+)$", "/live/"),
        (r"/\-/healthz$", "/-/healthz"),
        (r"/a\.b$", "/a.b"),
        (r"/a\d", "/a"),
        (r"/ab*c$", "/a"),
        (r"/a\-?", "/a"),
        (r"/a{2}", "/"),
        (r"/a.*", "/a"),
        (r"(?i)/a", ""),
        (r"/a|/b", ""),
        (r".*", ""),
    ],
)
def test_beginning_of_a_pattern_is_what_every_match_begins_with(
    pattern: str, beginning: str
) -> None:
    assert literal_beginning(pattern) == beginning


PIECE = st.sampled_from(
    ("/", "a", "b", "ab", "-", r"\-", r"\.", ".", "*", "+", "?", "{2}", "(a)", "[ab]", "|", r"\w")
)


@given(st.lists(PIECE, max_size=6).map("".join), st.lists(st.text("/ab-.", max_size=6), max_size=9))
def test_any_path_is_native_exactly_if_a_pattern_matches(pattern: str, paths: list[str]) -> None:
    try:
        expected = re.compile(f"/{pattern}$")
    except re.error:
        return
    routes = NativeRoutes([(f"/{pattern}", RequestHandler), (r"/never/(\d+)", RequestHandler)])

    for path in [*paths, *("/" + path for path in paths)]:
        assert (routes.find(path) is not None) is (expected.match(path) is not None)


@given(
    st.lists(st.lists(PIECE, max_size=5).map("".join), min_size=1, max_size=5),
    st.lists(st.text("/ab-.", max_size=6), max_size=9),
)
def test_any_path_is_served_by_the_first_route_that_matches(
    patterns: list[str], paths: list[str]
) -> None:
    try:
        compiled = [re.compile(f"/{pattern}$") for pattern in patterns]
    except re.error:
        return
    routes = NativeRoutes([(f"/{pattern}", RequestHandler) for pattern in patterns])

    for path in [*paths, *("/" + path for path in paths)]:
        first = next((n for n, one in enumerate(compiled) if one.match(path)), None)
        found = routes.find(path)
        assert (found.position if found is not None else None) == first


@pytest.mark.parametrize(
    ("pattern", "label"),
    [(r"/\-/metrics", "/-/metrics"), (r"/posts/(\d+)", r"/posts/(\d+)"), ("/a$", "/a")],
)
def test_label_of_a_route_is_its_pattern_as_people_read_it(pattern: str, label: str) -> None:
    (spec,) = NativeRoutes([(pattern, RequestHandler)]).specs
    found = NativeRoutes([spec]).find("/-/metrics" if "metrics" in pattern else label)
    found = found or NativeRoutes([spec]).find("/posts/1")
    assert found is not None
    assert found.label == label
