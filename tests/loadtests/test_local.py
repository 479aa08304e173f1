"""Only this machine may be put under load."""

from __future__ import annotations

import pytest

from loadtests.local import NotLocal, local_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://localhost:8000/some/page", "http://localhost:8000"),
    ],
)
def test_local_url_of_this_machine_is_taken_without_its_path(text: str, url: str) -> None:
    assert local_url(text) == url


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://192.0.2.1:8000", "another machine"),  # RFC 5737: nobody's address
        ("https://127.0.0.1", "must begin with http://"),
        ("127.0.0.1:8000", "must begin with http://"),
        ("http://127.0.0.1:port", "is not a URL"),
        ("http://name.invalid", "is not known here"),  # RFC 6761
    ],
)
def test_local_url_of_anything_else_is_refused(text: str, why: str) -> None:
    with pytest.raises(NotLocal, match=why):
        local_url(text)
