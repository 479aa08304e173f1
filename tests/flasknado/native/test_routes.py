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
        assert routes.match(path) is (expected.match(path) is not None)
