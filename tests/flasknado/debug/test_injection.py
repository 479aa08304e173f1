"""The script in pages of both halves: its place, and the length and bytes of what is sent."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from flasknado.debug.injection import Injector
from flasknado.debug.middleware import InjectingMiddleware
from flasknado.debug.native import InjectingTransform
from flasknado.wsgi.handoff import HANDOFF_KEY

INJECTOR = Injector("/-/debug/reload.js")
INJECTOR.version = "0a.0"
TAG = b'<script type="module" src="/-/debug/reload.js?version=0a.0"></script>'
PAGE = b"<!doctype html><html><head lang=en><title>t</title></head><body>b</body></html>"
HTML = ("Content-Type", "text/html; charset=utf-8")


class Answer:
    """What a WSGI application answers, behind the middleware."""

    def __init__(self, application: Any, **environ: Any) -> None:
        self.starts: list[tuple[str, dict[str, str]]] = []
        self.written = b""
        self.environ: dict[str, Any] = {"HTTP_ACCEPT": "text/html", **environ}
        setup_testing_defaults(self.environ)
        self.iterable = InjectingMiddleware(application, INJECTOR)(self.environ, self.start)
        self.body = self.written + b"".join(self.iterable)
        getattr(self.iterable, "close", lambda: None)()

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        self.starts.append((status, dict(headers)))
        return self.write

    def write(self, chunk: bytes) -> None:
        self.written += chunk

    @property
    def fields(self) -> dict[str, str]:
        return self.starts[-1][1]


def application(
    chunks: Iterable[bytes], *fields: tuple[str, str], status: str = "200 OK", length: bool = True
) -> Any:
    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = list(chunks)
        size = [("Content-Length", str(sum(map(len, body))))] if length else []
        start_response(status, [*(fields or [HTML]), *size])
        return body

    return answer


@given(
    st.lists(st.binary(max_size=30)),
    st.booleans(),
    st.sampled_from([None, "document", "iframe", "empty", "script"]),
    st.sampled_from(["200 OK", "404 Not Found", "500 Oops", "206 Partial Content"]),
    st.sampled_from(["text/html", "TEXT/HTML; charset=utf-8", "text/plain", "application/json"]),
)
def test_any_body_arrives_whole_with_the_script_once_or_not_at_all(
    chunks: list[bytes], length: bool, destination: str | None, status: str, content_type: str
) -> None:
    environ = {"HTTP_SEC_FETCH_DEST": destination} if destination else {}
    answer = Answer(
        application(chunks, ("Content-Type", content_type), status=status, length=length), **environ
    )
    body = b"".join(chunks)
    added = answer.body.count(TAG) if TAG not in body else 0
    assert answer.body.replace(TAG, b"", 1) == body
    assert len(answer.starts) == 1
    assert added <= 1
    if length:
        assert int(answer.fields["Content-Length"]) == len(answer.body)
    if destination in ("empty", "script") or "html" not in content_type.lower() or "206" in status:
        assert added == 0
    elif destination is not None and body:
        assert added == 1


@given(st.lists(st.integers(0, len(PAGE)), max_size=5), st.booleans())
def test_page_in_pieces_has_the_script_at_its_end_or_in_its_head(
    cuts: list[int], length: bool
) -> None:
    edges = [0, *sorted(cuts), len(PAGE)]
    pieces = [PAGE[a:b] for a, b in itertools.pairwise(edges)]
    answer = Answer(application(pieces, length=length), HTTP_SEC_FETCH_DEST="document")
    head = PAGE.index(b"<title>")
    assert answer.body in (PAGE + TAG, PAGE[:head] + TAG + PAGE[head:])
    if length:
        assert answer.body == PAGE + TAG


def test_stream_has_the_script_in_the_head_of_its_first_part() -> None:
    answer = Answer(application([PAGE, b"more"], length=False))
    assert answer.body == PAGE.replace(b"<title>", TAG + b"<title>") + b"more"


@pytest.mark.parametrize(
    "field",
    [
        ("Content-Encoding", "gzip"),
        ("Content-Disposition", "attachment; filename=a.html"),
        ("Content-Security-Policy", "default-src 'none'"),
    ],
)
def test_page_that_cannot_have_the_script_stays_as_it_is(field: tuple[str, str]) -> None:
    answer = Answer(application([PAGE], HTML, field))
    assert answer.body == PAGE
    assert answer.fields["Content-Length"] == str(len(PAGE))


def test_nonce_of_the_policy_is_on_the_script() -> None:
    policy = ("Content-Security-Policy", "script-src 'nonce-r4nd0m'")
    assert b' nonce="r4nd0m"></script>' in Answer(application([PAGE], HTML, policy)).body


def test_pages_are_asked_for_uncompressed_and_other_things_as_they_were() -> None:
    asked: list[str | None] = []

    def note(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        asked.append(environ.get("HTTP_ACCEPT_ENCODING"))
        return application([PAGE])(environ, start_response)  # type: ignore[no-any-return]

    Answer(note, HTTP_ACCEPT_ENCODING="gzip")
    Answer(note, HTTP_ACCEPT_ENCODING="gzip", HTTP_ACCEPT="*/*")
    assert asked == ["identity", "gzip"]


def test_head_says_no_length_that_the_page_would_not_have() -> None:
    answer = Answer(
        application([], HTML, ("Content-Length", "9"), length=False), REQUEST_METHOD="HEAD"
    )
    assert "Content-Length" not in answer.fields
    assert answer.body == b""


def test_generator_that_starts_late_and_an_error_that_replaces_the_head_are_followed() -> None:
    def late(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        start_response("500 Oops", [HTML], (ValueError, ValueError(), None))
        yield PAGE

    answer = Answer(late)
    assert [status for status, _ in answer.starts] == ["200 OK", "500 Oops"]
    assert TAG in answer.body


def test_application_that_calls_write_gets_the_script_behind_what_it_wrote() -> None:
    def writes(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [HTML])(b"<!doctype html>")
        return [b"<p>"]

    assert Answer(writes).body == b"<!doctype html><p>" + TAG


def test_response_that_is_left_to_the_loop_is_not_wrapped() -> None:
    parts = [PAGE]

    def leaves(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [HTML])
        environ[HANDOFF_KEY] = object()
        return parts

    answer = Answer(leaves)
    assert answer.iterable is parts
    assert len(answer.starts) == 1


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=4), st.booleans())
def test_native_body_arrives_whole_with_the_script_once(chunks: list[bytes], length: bool) -> None:
    request = HTTPServerRequest(
        start_line=RequestStartLine("GET", "/", "HTTP/1.1"),
        headers=HTTPHeaders({"Host": "localhost", "Sec-Fetch-Dest": "document"}),
    )
    transform = InjectingTransform(INJECTOR, request)
    body = b"".join(chunks)
    headers = HTTPHeaders({"Content-Type": "text/html"})
    if length:  # as Tornado knows it when all of the body is there
        chunks = [body]
        headers["Content-Length"] = str(len(body))
    sent = b""
    for number, chunk in enumerate(chunks):
        finishing = number == len(chunks) - 1
        if number == 0:
            _, headers, first = transform.transform_first_chunk(200, headers, chunk, finishing)
            sent += first
        else:
            sent += transform.transform_chunk(chunk, finishing)
    assert sent.replace(TAG, b"", 1) == body
    assert TAG in sent or not body
    if length:
        assert int(headers["Content-Length"]) == len(sent)
