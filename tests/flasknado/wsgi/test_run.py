"""A run by plain calls: what any run of an application must come to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flasknado.environ import base_environ
from flasknado.http.head import parse_head
from flasknado.http.message import ResponseHead
from flasknado.http.reply import TakeConnection
from flasknado.wsgi.run import Run


class Recorder:
    """A client that takes everything, and remembers it."""

    gone = begun = False

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.body = b""
        self.end = "never"

    def send(self, head: ResponseHead, body: bytes) -> None:
        self.start(head)
        self.body = body
        self._end("whole")

    def start(self, head: ResponseHead) -> None:
        assert self.head is None, "a second response began"
        self.head = head

    def write(self, chunk: bytes) -> None:
        assert self.head is not None
        assert self.end == "never"
        assert chunk
        self.body += chunk

    def send_file(self, file_fd: int, offset: int, count: int) -> int:
        return 0

    def hand_over(self, head: ResponseHead, take: TakeConnection) -> None:
        raise AssertionError("nobody asked for a hand-over")

    def finish(self) -> None:
        self._end("whole")

    def abort(self) -> None:
        self._end("cut")

    def _end(self, how: str) -> None:
        assert self.head is not None
        assert self.end == "never", "the response ended twice"
        self.end = how


class Body:
    """The body of an application, whose end is noted."""

    def __init__(self, parts: list[bytes], raises_at: int | None) -> None:
        self.parts = parts
        self.raises_at = raises_at
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        for number, part in enumerate(self.parts):
            if number == self.raises_at:
                raise RuntimeError("as planned")
            yield part

    def close(self) -> None:
        self.closed += 1


@given(
    parts=st.lists(st.binary(max_size=6), max_size=5),
    written=st.lists(st.binary(max_size=6), max_size=2),
    length=st.none() | st.integers(0, 20),
    raises_at=st.none() | st.integers(0, 4),
    status=st.sampled_from(("200 OK", "204 No Content", "304 Not Modified", "500 Oh")),
    method=st.sampled_from(("GET", "HEAD")),
)
def test_any_run_ends_once_with_what_was_promised(
    parts: list[bytes],
    written: list[bytes],
    length: int | None,
    raises_at: int | None,
    status: str,
    method: str,
) -> None:
    body = Body(parts, raises_at)

    def application(environ: dict[str, Any], start_response: Any) -> Body:
        headers = [] if length is None else [("Content-Length", str(length))]
        write = start_response(status, headers)
        for part in written:
            write(part)
        return body

    client = Recorder()
    head_asked = parse_head(method, "/", "1.1", [(b"Host", b"x")])
    Run(application, base_environ(), head_asked, None, client).run()

    made = b"".join([*written, *parts[:raises_at]])
    raised = raises_at is not None and raises_at < len(parts)
    head = client.head
    assert body.closed == 1
    assert head is not None
    assert client.end in ("whole", "cut")
    if head.reason == "Internal Server Error":
        assert raised or (length and not made)
        return
    assert head.status == int(status[:3])
    if not head.has_body:
        assert client.body == b""
        assert client.end == "whole"
    elif client.end == "whole":
        assert client.body == (made if length is None else made[:length])
        if head.content_length is not None:
            assert len(client.body) == head.content_length
    else:
        assert raised or (length is not None and len(made) < length)
        assert made.startswith(client.body)
