"""What is kept of requests that were seen: bounded in bytes, whatever clients send."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import pytest
from tornado import httputil

from flasknado import environ
from flasknado.http import head
from flasknado.http.head import parse_head
from flasknado.http.message import RequestHead
from flasknado.native import exchange
from flasknado.native.heads import head_from

LONG = 50_000
KEPT_BYTES = 100_000


def _request(number: int) -> RequestHead:
    name = b"x%d-" % number + b"a" * LONG
    host = b"h%d." % number + b"b" * LONG
    return parse_head("GET", "/", "1.1", [(b"Host", host), (name, b"v")])


def _size_bytes(kept: Iterable[object]) -> int:
    return sum(sys.getsizeof(item) for item in kept)


def _all_kept_bytes() -> int:
    caches = (head._known_names, head._known_hosts, exchange._normal_names, environ._keys)
    return sum(_size_bytes(cache) + _size_bytes(cache.values()) for cache in caches)  # type: ignore[attr-defined]


def test_long_names_and_hosts_are_not_kept() -> None:
    before = _all_kept_bytes()

    for number in range(20):
        request = _request(number)
        exchange.tornado_headers(request)
        environ.build_environ(request, None, environ.base_environ())

    assert _all_kept_bytes() - before < KEPT_BYTES


def test_long_names_do_not_stay_in_tornados_cache() -> None:
    fields = httputil.HTTPHeaders({"Host": "a", "X-" + "a" * LONG: "v"})
    start_line = httputil.RequestStartLine("GET", "/", "HTTP/1.1")

    head_from(start_line, fields, httputil.HTTPConnection())

    assert httputil._normalize_header.cache_info().currsize == 0


@pytest.mark.parametrize("name", [b"X-Short", b"Accept-Language"])
def test_short_names_are_kept(name: bytes) -> None:
    parse_head("GET", "/", "1.1", [(b"Host", b"a"), (name, b"v")])

    assert name in head._known_names
