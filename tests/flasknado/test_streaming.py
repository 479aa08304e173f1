"""`flasknado.stream`: bodies that the event loop makes, on both layers and under other servers."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import flask
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from flasknado import HTTPServer, WSGIContainer, json_line, server_sent_event, stream
from flasknado.on_loop import blocking, streams
from tests.support.poll import poll
from tests.support.raw import connect, read_to_end
from tests.support.serving import Serving, serving

KIB = 1024


class Site:
    """An application with producers, and what happened in them."""

    def __init__(self) -> None:
        self.app = flask.Flask("streaming")
        self.app.secret_key = "of a test"
        self.story: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.yielded = 0
        self.unblocked = threading.Event()
        self.app.add_url_rule("/held/<name>", view_func=self.held)
        self.app.add_url_rule("/count", view_func=self.count, methods=["GET", "POST"])
        self.app.add_url_rule("/context/<name>", view_func=self.context)
        self.app.add_url_rule("/fails", view_func=self.fails)
        self.app.add_url_rule("/flood", view_func=self.flood)
        self.app.add_url_rule("/silent", view_func=self.silent)
        self.app.add_url_rule("/empty", view_func=self.empty)
        self.app.add_url_rule("/blocks", view_func=self.blocks)
        self.app.add_url_rule("/stubborn", view_func=self.stubborn)
        self.app.add_url_rule("/sync", view_func=lambda: stream(["no"]))  # type: ignore[arg-type]
        self.app.add_url_rule("/page", "page", lambda: "page")

    def held(self, name: str) -> flask.Response:
        """Yield `begun`, and `end` once the gate of that name is open."""

        async def produce() -> AsyncIterator[str]:
            gate = self.gates[name] = asyncio.Event()
            try:
                yield "begun\n"
                await gate.wait()
                yield "end\n"
            finally:
                self.story.append(f"{name} closed on {threading.current_thread().name}")

        mimetype = flask.request.args.get("mimetype", "text/plain")
        return stream(produce(), mimetype)

    def count(self) -> flask.Response:
        async def produce() -> AsyncIterator[bytes]:
            for number in range(int(flask.request.args.get("to", 3))):
                self.story.append("counted")
                yield b"%d\n" % number
                await asyncio.sleep(0)

        status = int(flask.request.args.get("status", 200))
        return stream(produce(), status=status, headers={"X-Kind": "numbers"})

    def context(self, name: str) -> flask.Response:
        flask.g.name = name
        flask.session["name"] = name

        async def produce() -> AsyncIterator[str]:
            await asyncio.sleep(0)
            flask.session["name"] = "changed too late"
            said = {
                "app": flask.current_app.name,
                "path": flask.request.path,
                "args": flask.request.view_args,
                "g": flask.g.get("name"),
            }
            yield json_line(said)

        return stream(produce(), "application/x-ndjson")

    def fails(self) -> flask.Response:
        after = flask.request.args.get("after")
        what: Any = flask.request.args.get("what")

        async def produce() -> AsyncIterator[Any]:
            if after:
                yield after
            await asyncio.sleep(0)
            if what == "exit":
                raise SystemExit(3)
            if what == "cancelled":
                raise asyncio.CancelledError
            if what == "number":
                yield 7
            if what == "large":
                yield b"x" * (streams.MAX_CHUNK_BYTES + 1)
            raise LookupError("no more tokens")

        return stream(produce())

    def flood(self) -> flask.Response:
        async def produce() -> AsyncIterator[bytes]:
            self.yielded = 0
            while True:
                self.yielded += 1
                yield b"x" * 64 * KIB

        return stream(produce())

    def silent(self) -> flask.Response:
        first = flask.request.args.get("first")
        timeouts = {
            name: float(value) for name, value in flask.request.args.items() if "_s" in name
        }
        mimetype = flask.request.args.get("mimetype", "text/plain")

        async def produce() -> AsyncIterator[str]:
            if first is not None:
                yield first
            await asyncio.Event().wait()

        return stream(produce(), mimetype, **timeouts)  # type: ignore[arg-type]

    def empty(self) -> flask.Response:
        async def produce() -> AsyncIterator[bytes]:
            while True:
                yield b""

        return stream(produce(), idle_timeout_s=float(flask.request.args["idle_timeout_s"]))

    def blocks(self) -> flask.Response:
        async def produce() -> AsyncIterator[str]:
            yield "now "
            self.unblocked.wait(20)
            yield "done"

        return stream(produce())

    def stubborn(self) -> flask.Response:
        async def hang_on() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            self.gates["stubborn"] = asyncio.Event()
            await self.gates["stubborn"].wait()

        async def produce() -> AsyncIterator[str]:
            yield "begun"
            await hang_on()

        return stream(produce())


@pytest.fixture(scope="module", autouse=True)
def quick_sweeps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "SWEEP_INTERVAL_S", 0.05)
        patch.setattr(blocking, "BLOCKED_S", 0.1)
        yield


@pytest.fixture(params=["llhttp", "tornado"], scope="module")
def layer(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def running(layer: str) -> Iterator[tuple[Site, Serving]]:
    site = Site()
    with serving(lambda: HTTPServer(WSGIContainer(site.app, threads=2), http=layer)) as served:
        yield site, served


@pytest.fixture
def site(running: tuple[Site, Serving]) -> Site:
    running[0].story.clear()
    return running[0]


@pytest.fixture
def served(running: tuple[Site, Serving]) -> Serving:
    return running[1]


def container_of(served: Serving) -> WSGIContainer:
    container = served.server.container
    assert isinstance(container, WSGIContainer)
    return container


def streams_of(served: Serving) -> int:
    return container_of(served).loop_host.stream_count


@contextlib.contextmanager
def begun(served: Serving, path: str) -> Iterator[socket.socket]:
    """Yield a connection on which a response has begun."""
    with connect(served.address) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        read_until(sock, b"begun\n\r\n")
        yield sock


def read_until(sock: socket.socket, end: bytes) -> bytes:
    """Return what comes, up to and with `end`."""
    said = b""
    while end not in said:
        part = sock.recv(4096)
        assert part, said
        said += part
    return said


def test_chunk_arrives_while_the_producer_waits_and_holds_no_thread(
    site: Site, served: Serving
) -> None:
    names = [f"one{n}" for n in range(5)]  # more than there are threads
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(begun(served, f"/held/{name}")) for name in names]
        assert requests.get(f"{served.url}/page", timeout=10).text == "page"
        assert streams_of(served) == 5
        poll(lambda: container_of(served).pool.busy, lambda busy: busy == 0)
        for name, sock in zip(names, socks, strict=True):
            served.loop.call_soon_threadsafe(site.gates[name].set)
            assert read_until(sock, b"0\r\n\r\n") == b"4\r\nend\n\r\n0\r\n\r\n"
    poll(lambda: streams_of(served), lambda count: count == 0)
    assert sorted(site.story) == sorted(f"{name} closed on serving" for name in names)


def test_connection_goes_on_after_a_stream(site: Site, served: Serving) -> None:
    connection = http.client.HTTPConnection(*served.address, timeout=10)
    with contextlib.closing(connection):
        for _ in range(2):
            connection.request("GET", "/count")
            response = connection.getresponse()
            assert response.read() == b"0\n1\n2\n"
            assert response.headers["X-Kind"] == "numbers"
            assert response.headers["X-Accel-Buffering"] == "no"
            assert response.headers["Transfer-Encoding"] == "chunked"


def test_http_1_0_client_gets_the_body_up_to_the_end_of_the_connection(
    site: Site, served: Serving
) -> None:
    with connect(served.address) as sock:
        sock.sendall(b"GET /count HTTP/1.0\r\n\r\n")
        head, _, body = read_to_end(sock).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body == b"0\n1\n2\n"


@pytest.mark.parametrize(("method", "query"), [("HEAD", ""), ("GET", "?status=204")])
def test_response_without_a_body_runs_no_producer(
    site: Site, served: Serving, method: str, query: str
) -> None:
    response = requests.request(method, f"{served.url}/count{query}", timeout=10)
    assert response.status_code == int(query[-3:] or 200)
    assert response.content == b""
    assert site.story == []
    assert streams_of(served) == 0


def test_empty_stream_and_other_status_are_whole_responses(site: Site, served: Serving) -> None:
    response = requests.get(f"{served.url}/count?to=0&status=404", timeout=10)
    assert (response.status_code, response.content) == (404, b"")
    response = requests.get(f"{served.url}/count?to=2&status=201", timeout=10)
    assert (response.status_code, response.content) == (201, b"0\n1\n")


def test_producer_sees_the_request_of_its_view_and_saves_no_session(
    site: Site, served: Serving
) -> None:
    with requests.Session() as client:
        response = client.get(f"{served.url}/context/ann", timeout=10)
        said = response.json()
        assert said == {
            "app": "streaming",
            "path": "/context/ann",
            "args": {"name": "ann"},
            "g": None,
        }
        assert response.headers["Content-Type"] == "application/x-ndjson"
        with site.app.test_request_context(
            headers={"Cookie": f"session={client.cookies['session']}"}
        ):
            assert flask.session["name"] == "ann"


def test_producer_that_fails_before_the_first_byte_gives_500(
    site: Site, served: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    response = requests.get(f"{served.url}/fails", timeout=10)
    assert response.status_code == 500
    request_id = response.headers["X-Request-ID"]
    assert response.text == f"Internal Server Error. Reference: {request_id}\n"
    record = next(r for r in caplog.records if "the producer failed" in r.getMessage())
    assert f"GET /fails [{request_id}]" in record.getMessage()
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "no more tokens"


@pytest.mark.parametrize("what", ["", "exit", "cancelled", "number", "large"])
def test_producer_that_fails_later_ends_the_connection_before_the_body(
    site: Site, served: Serving, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(served.address) as sock:
        sock.sendall(f"GET /fails?after=some&what={what} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        said = read_to_end(sock)
    assert said.endswith(b"\r\n\r\n4\r\nsome\r\n")
    poll(lambda: "the producer failed in GET /fails" in caplog.text)
    assert requests.get(f"{served.url}/page", timeout=10).text == "page"


@pytest.mark.parametrize(
    ("what", "rule"),
    [
        ("number", "must yield bytes or text, not int"),
        ("large", f"at most {streams.MAX_CHUNK_BYTES} bytes at a time"),
    ],
)
def test_what_a_producer_may_not_yield_is_said_in_the_log(
    site: Site, served: Serving, what: str, rule: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert requests.get(f"{served.url}/fails?what={what}", timeout=10).status_code == 500
    assert rule in caplog.text


def test_producer_is_cancelled_and_closed_when_its_client_leaves(
    site: Site, served: Serving
) -> None:
    with begun(served, "/held/left"):
        pass
    poll(lambda: site.story, lambda story: story == ["left closed on serving"])
    poll(lambda: streams_of(served), lambda count: count == 0)


def test_producer_waits_for_a_client_that_does_not_read(site: Site, served: Serving) -> None:
    with connect(served.address, receive_buffer_bytes=4096) as sock:
        sock.sendall(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
        previous = -1

        def rests() -> bool:
            nonlocal previous
            before, previous = previous, site.yielded
            return before == previous and previous > 0

        poll(rests)
        assert site.yielded * 64 * KIB < 16 * KIB * KIB  # what the sockets take, and little more
        before = site.yielded
        for _ in range(400):
            sock.recv(64 * KIB)
        poll(lambda: site.yielded, lambda now: now > before)
    poll(lambda: streams_of(served), lambda count: count == 0)


def test_silent_producer_is_ended_by_its_timeouts(
    site: Site, served: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    assert requests.get(f"{served.url}/silent?idle_timeout_s=0.1", timeout=10).status_code == 504
    assert requests.get(f"{served.url}/silent?timeout_s=0.1", timeout=10).status_code == 504
    said = converse_open(served, "/silent?idle_timeout_s=0.1&first=some")
    assert said.endswith(b"4\r\nsome\r\n")
    assert "was cut off: nothing came for 0.1 s (idle_timeout_s)" in caplog.text


def test_producer_of_empty_chunks_leaves_requests_their_turns_and_counts_as_silent(
    site: Site, served: Serving
) -> None:
    with connect(served.address) as sock:
        sock.sendall(b"GET /empty?idle_timeout_s=60 HTTP/1.1\r\nHost: a\r\n\r\n")
        poll(lambda: streams_of(served), lambda count: count == 1)
        assert requests.get(f"{served.url}/page", timeout=10).text == "page"
    assert requests.get(f"{served.url}/empty?idle_timeout_s=0.1", timeout=10).status_code == 504
    poll(lambda: streams_of(served), lambda count: count == 0)


def converse_open(served: Serving, path: str) -> bytes:
    with connect(served.address) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        return read_to_end(sock)


def test_silent_stream_of_events_gets_comments_between_two_events(
    site: Site, served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.01)
    query = "timeout_s=0.5&mimetype=text/event-stream"
    said = converse_open(served, f"/silent?first=data:1%0A%0A&{query}")
    assert said.count(b"3\r\n:\n\n\r\n") > 1
    assert b"Cache-Control: no-store" in said
    said = converse_open(served, f"/silent?first=data:half&{query}")
    assert b":\n\n" not in said


def test_producer_that_blocks_the_loop_is_told_with_its_stack(
    site: Site, served: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    with ThreadPoolExecutor(1) as executor:
        asked = executor.submit(requests.get, f"{served.url}/blocks", timeout=20)
        poll(lambda: "has blocked the event loop" in caplog.text)
        site.unblocked.set()
        response = asked.result()
    assert response.text == "now done"
    record = next(r for r in caplog.records if "has blocked the event loop" in r.getMessage())
    assert (
        f"the producer of GET /blocks [{response.headers['X-Request-ID']}]" in record.getMessage()
    )
    assert "self.unblocked.wait(20)" in str(record.stack_info)


def test_cancelled_producer_that_goes_on_is_told_with_its_stack(
    site: Site,
    served: Serving,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "CLEANUP_S", 0.1)
    with connect(served.address) as sock:
        sock.sendall(b"GET /stubborn HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"200 OK" in sock.recv(4096)
    poll(lambda: "goes on, although it was cancelled" in caplog.text)
    record = next(r for r in caplog.records if "although it was cancelled" in r.getMessage())
    assert "in hang_on" in str(record.stack_info)
    served.loop.call_soon_threadsafe(site.gates["stubborn"].set)
    poll(lambda: streams_of(served), lambda count: count == 0)


def test_synchronous_iterable_is_refused_with_the_way_out(
    site: Site, served: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    assert requests.get(f"{served.url}/sync", timeout=10).status_code == 500
    assert "stream() takes an async iterator" in caplog.text
    assert "return a synchronous generator from the view itself" in caplog.text


def test_stream_above_the_limit_is_answered_503(layer: str) -> None:
    site = Site()

    def make() -> HTTPServer:
        return HTTPServer(WSGIContainer(site.app, max_loop_streams=1), http=layer)

    with serving(make) as served, begun(served, "/held/first") as sock:
        response = requests.get(f"{served.url}/held/second", timeout=10)
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "1"
        served.loop.call_soon_threadsafe(site.gates["first"].set)
        sock.recv(100)
        poll(
            lambda: requests.get(f"{served.url}/count", timeout=10).status_code,
            lambda status: status == 200,
        )


def test_deadline_of_a_request_holds_for_the_first_byte_of_a_stream(layer: str) -> None:
    site = Site()

    def make() -> HTTPServer:
        return HTTPServer(WSGIContainer(site.app, request_timeout_s=0.2), http=layer)

    with serving(make) as served:
        assert requests.get(f"{served.url}/silent", timeout=10).status_code == 504
        with begun(served, "/held/long"):
            assert streams_of(served) == 1
            assert converse_open(served, "/silent?first=x&timeout_s=0.6").endswith(b"1\r\nx\r\n")
            assert site.story == []  # one that has begun goes on


def test_drain_cancels_streams_at_its_end_and_waits_for_their_teardown(layer: str) -> None:
    site = Site()
    torn_down: list[str] = []

    @site.app.teardown_request
    def teardown(error: BaseException | None) -> None:
        torn_down.append(f"{flask.request.path} on {threading.current_thread().name}")

    async def drain(served: Serving) -> bool:
        return await served.server.drain(0.3)

    with (
        serving(lambda: HTTPServer(WSGIContainer(site.app), http=layer)) as served,
        begun(served, "/held/drained") as sock,
    ):
        drained = asyncio.run_coroutine_threadsafe(drain(served), served.loop).result(15)
        assert not drained
        assert site.story == ["drained closed on serving"]
        assert [line.split()[0] for line in torn_down] == ["/held/drained"] * 2
        assert "serving" not in torn_down[1]  # it may block, so it has a thread
        assert read_to_end(sock) == b""


def test_drain_ends_event_streams_after_their_grace_and_has_others_finish(layer: str) -> None:
    site = Site()

    def make() -> HTTPServer:
        return HTTPServer(WSGIContainer(site.app, stream_grace_s=0.1), http=layer)

    with (
        serving(make) as served,
        begun(served, "/held/events?mimetype=text/event-stream") as events,
        begun(served, "/held/download") as download,
        begun(served, "/silent?first=begun%0A&drain_grace_s=0") as feed,
    ):
        drained = asyncio.run_coroutine_threadsafe(served.server.drain(30), served.loop)
        assert read_to_end(feed) == b"0\r\n\r\n"
        assert read_to_end(events) == b"0\r\n\r\n"
        poll(lambda: site.story, lambda story: story == ["events closed on serving"])
        served.on_loop(site.gates["download"].set)
        assert read_to_end(download) == b"4\r\nend\n\r\n0\r\n\r\n"
        assert drained.result(40)


def test_event_stream_without_an_event_ends_in_a_drain_as_one_that_may_come_back(
    layer: str,
) -> None:
    site = Site()
    path = "/silent?mimetype=text/event-stream&drain_grace_s=0"
    with (
        serving(lambda: HTTPServer(WSGIContainer(site.app), http=layer)) as served,
        connect(served.address) as sock,
    ):
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        poll(lambda: streams_of(served), lambda count: count == 1)
        drained = asyncio.run_coroutine_threadsafe(served.server.drain(30), served.loop)
        head, _, body = read_to_end(sock).partition(b"\r\n\r\n")
        assert (head[:12], body) == (b"HTTP/1.1 200", b"0\r\n\r\n")
        assert drained.result(40)


def test_stream_with_a_negative_grace_is_refused(site: Site) -> None:
    with (
        site.app.test_request_context("/silent?drain_grace_s=-1"),
        pytest.raises(ValueError, match="drain_grace_s must be 0 seconds or more, not -1"),
    ):
        site.silent()


# Where the loop does not take the response.


def gzip_like(app: Any) -> Callable[..., Any]:
    """Return middleware that changes the body, and says so."""

    def middleware(environ: dict[str, Any], start_response: Any) -> Any:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, [*headers, ("Content-Encoding", "x-upper")], exc_info)

        body = app(environ, start)
        try:
            yield from (part.replace(b"\n", b"!") for part in body)
        finally:
            body.close()

    return middleware


def test_response_that_middleware_changes_runs_on_the_loop_step_by_step(layer: str) -> None:
    site = Site()
    app = gzip_like(site.app.wsgi_app)
    with serving(lambda: HTTPServer(WSGIContainer(app), http=layer)) as served:
        response = requests.get(f"{served.url}/count", timeout=10)
        assert response.raw.headers["Content-Encoding"] == "x-upper"
        assert response.content == b"0!1!2!"
        with connect(served.address) as sock:
            sock.sendall(b"GET /held/changed HTTP/1.1\r\nHost: a\r\n\r\n")
            read_until(sock, b"begun!")
            served.loop.call_soon_threadsafe(site.gates["changed"].set)
            read_until(sock, b"end!")
        poll(lambda: site.story[-1], lambda last: last == "changed closed on serving")


def test_response_under_another_server_is_a_plain_iterator() -> None:
    site = Site()
    torn_down: list[str] = []
    site.app.teardown_request(lambda error: torn_down.append(flask.request.path))
    client = site.app.test_client()
    response = client.get("/context/ann")
    assert json.loads(response.data)["path"] == "/context/ann"
    assert torn_down == ["/context/ann"] * 2
    opened = client.get("/count", buffered=False)
    assert next(iter(opened.response)) == b"0\n"
    opened.close()
    assert client.head("/count").data == b""
    failing = client.get("/fails?after=some", buffered=False)
    chunks = iter(failing.response)
    assert next(chunks) == b"some"
    with pytest.raises(LookupError):
        next(chunks)
    failing.close()


def test_response_class_of_the_application_is_kept() -> None:
    class Own(flask.Response):
        def headers_of_house(self) -> str:
            return "own"

    site = Site()
    site.app.response_class = Own

    @site.app.after_request
    def mark(response: Own) -> Own:
        response.headers["X-House"] = response.headers_of_house()
        return response

    with serving(lambda: HTTPServer(WSGIContainer(site.app))) as served:
        with begun(served, "/held/own"):
            assert streams_of(served) == 1
        assert requests.get(f"{served.url}/count", timeout=10).headers["X-House"] == "own"


def test_response_whose_body_a_hook_has_replaced_is_that_body() -> None:
    site = Site()

    @site.app.after_request
    def replace(response: flask.Response) -> flask.Response:
        response.response = [b"re", b"placed"]
        return response

    with serving(lambda: HTTPServer(WSGIContainer(site.app))) as served:
        assert requests.get(f"{served.url}/count", timeout=10).text == "replaced"
    assert site.story == []


# The encoders.


def parse_events(text: str) -> list[dict[str, str]]:
    """Parse a stream as the HTML standard says (section 9.2.6)."""
    events: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    data: list[str] = []
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if not line:
            if data:
                events.append({**fields, "data": "\n".join(data)})
            fields, data = {}, []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        else:
            fields[name] = value
    return events


ONE_LINE = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))


@given(
    data=st.text(st.characters(exclude_categories=["Cs"])),
    event=st.none() | ONE_LINE,
    event_id=st.none() | ONE_LINE,
)
def test_server_sent_event_is_read_back(data: str, event: str | None, event_id: str | None) -> None:
    (read,) = parse_events(server_sent_event(data, event, event_id))
    assert read.pop("data") == data.replace("\r\n", "\n").replace("\r", "\n")
    said = {"event": event, "id": event_id}
    assert read == {name: value for name, value in said.items() if value is not None}


@given(
    st.recursive(
        st.none() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])), st.lists
    )
)
def test_data_that_is_no_text_is_json_on_one_line(data: Any) -> None:
    assert json_line(data).count("\n") == 1
    assert json.loads(json_line(data)) == data
    if not isinstance(data, str):
        (read,) = parse_events(server_sent_event(data))
        assert json.loads(read["data"]) == data


@pytest.mark.parametrize(("event", "event_id"), [("a\nb", None), ("a\rb", None), (None, "1\0")])
def test_name_or_id_of_several_lines_is_refused(event: str | None, event_id: str | None) -> None:
    with pytest.raises(ValueError, match="of a server-sent event is one line"):
        server_sent_event("data", event, event_id)


def test_retry_is_in_milliseconds() -> None:
    assert server_sent_event("", retry_ms=1500) == "retry: 1500\ndata: \n\n"


def test_log_names_the_request_that_a_producer_serves(
    site: Site, served: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="flasknado.error")
    with begun(served, "/held/named"):
        pass
    poll(lambda: "GET /held/named [" in caplog.text)
    assert "ended: its client left" in caplog.text


def test_chunks_that_are_ready_at_once_leave_requests_their_turns(
    site: Site, served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "CHUNKS_PER_TURN", 2)
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(contextlib.closing(http.client.HTTPConnection(*served.address)))
            for _ in range(20)
        ]
        for connection in connections:
            connection.request("GET", "/count?to=50")
        assert requests.get(f"{served.url}/page", timeout=10).text == "page"
        for connection in connections:
            said = connection.getresponse().read()
            assert said == b"".join(b"%d\n" % number for number in range(50))
