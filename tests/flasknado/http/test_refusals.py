"""Every class of malformed requests: its status, and that it reaches no application."""

from __future__ import annotations

import contextlib
import gc
from pathlib import Path
from types import TracebackType

import pytest

from tests.flasknado.http.refusals import (
    ACCEPTED,
    SERVED,
    SILENT,
    Acceptance,
    Refusal,
    all_refusals,
    rendered,
)
from tests.flasknado.site import Site
from tests.support.poll import poll
from tests.support.raw import connect, converse, one_by_one, read_to_end, statuses

DOCS = Path(__file__).resolve().parents[3] / "docs" / "http-safety.md"

FIRST = b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("refusal", all_refusals(), ids=lambda refusal: refusal.name)
def test_refusal_on_every_layer_has_its_status_and_reaches_nobody(
    shared_site: Site, layer: str, refusal: Refusal
) -> None:
    seen = shared_site.seen.requests
    before = len(seen)
    status = refusal.on_tornado if layer == "tornado" else refusal.status

    with connect(shared_site.address) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(refusal.request)
        if status == SERVED:
            poll(lambda: len(seen) > before)
            return
        said = read_to_end(sock)

    assert statuses(said)[:1] == ([] if status == SILENT else [status])
    assert len(seen) == before


@pytest.mark.parametrize(
    "refusal", [r for r in all_refusals() if len(r.request) < 1000], ids=lambda r: r.name
)
@pytest.mark.parametrize("layer", ["llhttp"], indirect=True)
def test_refusal_byte_by_byte_behind_a_good_request_is_the_same(
    shared_site: Site, refusal: Refusal
) -> None:
    seen = shared_site.seen.requests
    before = len(seen)

    with connect(shared_site.address) as sock:
        with contextlib.suppress(ConnectionError):
            for piece in one_by_one(FIRST + refusal.request):
                sock.sendall(piece)
        said = read_to_end(sock)

    assert statuses(said) == [200, refusal.status]
    assert [target for _, target, _ in seen[before:]] == ["/first"]


# A body above the limit is refused before it has been read, so what is behind it is not reached.
@pytest.mark.parametrize(
    "refusal", [r for r in all_refusals() if len(r.request) < 1000], ids=lambda r: r.name
)
def test_request_behind_a_refused_one_is_never_run(
    shared_site: Site, layer: str, refusal: Refusal
) -> None:
    status = refusal.on_tornado if layer == "tornado" else refusal.status
    if status == SERVED:
        pytest.skip("this layer does not refuse it")
    seen = shared_site.seen.requests
    before = len(seen)

    with connect(shared_site.address) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(refusal.request + FIRST)
        said = read_to_end(sock)

    assert statuses(said) in ([status], [])
    assert len(seen) == before


@pytest.mark.parametrize("accepted", ACCEPTED, ids=lambda accepted: accepted.name)
def test_unusual_request_on_every_layer_is_served_or_refused_as_documented(
    shared_site: Site, layer: str, accepted: Acceptance
) -> None:
    seen = shared_site.seen.requests
    before = len(seen)
    status = accepted.tornado if layer == "tornado" else SERVED

    with connect(shared_site.address) as sock:
        sock.sendall(accepted.request)
        if status == SERVED:
            poll(lambda: len(seen) > before)
        else:
            assert statuses(read_to_end(sock)) == [status]

    assert seen[before : before + 1] == ([accepted.seen] if status == SERVED else [])


def test_trailers_beyond_the_bound_are_refused(shared_site: Site, layer: str) -> None:
    trailers = b"".join(b"X-%d: y\r\n" % number for number in range(129))
    request = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
    with connect(shared_site.address) as sock:
        sock.sendall(request + trailers + b"\r\n")

        assert statuses(read_to_end(sock)) == [400 if layer == "tornado" else 431]


def test_docs_say_what_is_tested() -> None:
    assert DOCS.read_text() == rendered(), (
        "write it again: python -m tests.flasknado.http.refusals > docs/http-safety.md"
    )


@pytest.mark.parametrize("request_", [b"GET / HTTP/1.1\r\n\r\n", b"\x00\r\n\r\n"])
@pytest.mark.parametrize("layer", ["llhttp"], indirect=True)
def test_refused_request_leaves_no_received_bytes_behind_in_frames(
    shared_site: Site, request_: bytes
) -> None:
    """A traceback that is kept keeps the frames of the parser, and what they were given."""

    def kept() -> int:
        return sum(isinstance(each, TracebackType) for each in gc.get_objects())

    assert statuses(converse(shared_site.address, request_)) == [400]
    gc.collect()
    gc.disable()
    try:
        before = kept()
        for _ in range(10):
            assert statuses(converse(shared_site.address, request_)) == [400]
        poll(lambda: kept() - before, until=lambda more: more <= 0, deadline_s=5)
    finally:
        gc.enable()
