"""One client's connection: order, framing, half-closes and what is left when clients go."""

from __future__ import annotations

import gc
import json
import random
import socket
from collections.abc import Callable

import pytest

from flasknado.http.connection import Connection
from flasknado.http.parser import RequestParser
from flasknado.native.exchange import NativeExchange
from flasknado.wsgi.exchange import OrdinaryExchange
from tests.flasknado.site import MAX_BODY_BYTES, Site
from tests.flasknado.wsgi.wire import Wire
from tests.support.poll import poll
from tests.support.raw import connect, converse, one_by_one, read_to_end, statuses

MakeSite = Callable[..., Site]
HOST = b"Host: example.test\r\n"
CLOSE = b"Connection: close\r\n"


def get(path: str, *fields: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\n%b%b\r\n" % (path.encode(), HOST, b"".join(fields))


def post(path: str, body: bytes, *fields: bytes) -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST %b HTTP/1.1\r\n%b%b%b\r\n%b" % (
        path.encode(), HOST, length, b"".join(fields), body,
    )  # fmt: skip


def chunked(path: str, *parts: bytes) -> bytes:
    head = b"POST %b HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n" % (path.encode(), HOST)
    framed = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part]
    return head + b"".join(framed) + b"0\r\n\r\n"


MIXES = {
    "ordinary then native": [get("/a"), get("/native/b"), get("/c")],
    "native then ordinary": [get("/native/a"), get("/b"), get("/native/c")],
    "slow native first": [get("/native/a?slow=1"), get("/b"), get("/native/c?slow=1"), get("/d")],
    "bodies": [post("/a", b"x" * 9), post("/native/b", b"y" * 99), get("/c"), post("/d", b"")],
    "chunked": [chunked("/a", b"abc", b"d"), chunked("/native/b", b"x" * 300), get("/c")],
    "an upgrade that nobody takes": [
        post("/a", b"abc", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
        get("/b", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
        get("/native/c", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
        get("/d"),
    ],
}


@pytest.mark.parametrize("name", MIXES)
@pytest.mark.parametrize("split", ["one segment", "one byte", "odd pieces"])
def test_pipelined_requests_however_split_are_answered_in_order(
    shared_site: Site, layer: str, name: str, split: str
) -> None:
    requests = MIXES[name]
    data = b"".join(requests)
    pieces = {
        "one segment": [data],
        "one byte": one_by_one(data),
        "odd pieces": [data[i : i + 7] for i in range(0, len(data), 7)],
    }[split]

    with Wire(shared_site.address) as wire:
        for piece in pieces:
            wire.send(piece)
        answers = [wire.answer() for _ in requests]

    asked = [request.split(b" ")[1].decode().partition("?")[0] for request in requests]
    told = [json.loads(answer.body) for answer in answers]
    assert [answer["path"] for answer in told] == asked
    lengths = [len(request.partition(b"\r\n\r\n")[2]) for request in requests]
    if name == "chunked":
        lengths = [4, 300, 0]
    assert [answer["body_bytes"] for answer in told] == lengths


def test_pipelined_mixes_in_any_order_are_answered_in_order(shared_site: Site) -> None:
    shuffled = random.Random(3)
    kinds = [get("/o"), get("/native/n"), get("/native/s?slow=1"), post("/p", b"abc")]
    for _ in range(5):
        requests = shuffled.choices(kinds, k=40)

        with Wire(shared_site.address) as wire:
            wire.send(b"".join(requests))
            told = [json.loads(wire.answer().body)["path"] for _ in requests]

        assert told == [r.split(b" ")[1].decode().partition("?")[0] for r in requests]


def test_more_pipelined_requests_than_are_read_ahead_are_all_answered(shared_site: Site) -> None:
    with Wire(shared_site.address) as wire:
        wire.send(get("/a") * 1500)

        assert {wire.answer().status for _ in range(1500)} == {200}


def test_pipeline_beyond_the_bound_stops_being_read(make_site: MakeSite, llhttp: str) -> None:
    site = make_site(llhttp)
    with connect(site.address) as sock:
        sock.setblocking(False)
        request = get("/wait", b"X-Fill: " + b"a" * 4000 + b"\r\n")
        sent = 0

        def stuck() -> bool:
            nonlocal sent
            try:
                sent += sock.send(request * 50)
            except BlockingIOError:
                return True
            return False

        poll(lambda: stuck() and stuck())
        assert site.server.counters.in_flight < 100
        assert sent < 30_000_000


@pytest.mark.parametrize("path", ["/a", "/native/a"])
def test_half_close_right_after_a_request_still_gets_the_answer(
    shared_site: Site, layer: str, path: str
) -> None:
    if layer == "tornado" and path == "/a":
        pytest.skip("to Tornado's connection a FIN is the end of the client")

    said = converse(shared_site.address, get(path))

    if path == "/a":
        assert statuses(said) == [200]
    else:
        assert statuses(said) in ([], [200])  # a handler that has not answered is told to stop


def test_half_close_behind_pipelined_requests_gets_all_answers(
    make_site: MakeSite, llhttp: str
) -> None:
    site = make_site(llhttp)

    assert statuses(converse(site.address, get("/a") * 60)) == [200] * 60


@pytest.mark.parametrize("path", ["/stream", "/events", "/open", "/flood"])
def test_client_that_leaves_an_open_response_is_seen_to_go(
    make_site: MakeSite, layer: str, path: str
) -> None:
    site = make_site(layer)
    wire = Wire(site.address)
    wire.send(get(path))
    assert wire.head().status == 200

    wire.close()

    poll(lambda: site.seen.gone)


@pytest.mark.parametrize("path", ["/events", "/open", "/flood"])
def test_client_that_half_closes_a_live_response_is_seen_to_go(
    make_site: MakeSite, layer: str, path: str
) -> None:
    site = make_site(layer)
    with Wire(site.address) as wire:
        wire.send(get(path))
        assert wire.head().status == 200

        wire.socket.shutdown(socket.SHUT_WR)

        poll(lambda: site.seen.gone)


@pytest.mark.parametrize("close_at", ["the beginning", "the first part"])
def test_client_that_half_closes_gets_its_stream_to_the_end(
    make_site: MakeSite, llhttp: str, close_at: str
) -> None:
    site = make_site(llhttp)
    with Wire(site.address) as wire:
        wire.send(get("/held"))
        if close_at == "the beginning":
            wire.socket.shutdown(socket.SHUT_WR)
        assert wire.head().status == 200
        assert wire.chunk() == b"one "
        if close_at == "the first part":
            wire.socket.shutdown(socket.SHUT_WR)
            with Wire(site.address) as other:  # whose request is read after the FIN
                assert other.get("/a").status == 200

        site.seen.release.set()

        parts = list(iter(wire.chunk, b""))
        assert parts[-1] == b"end"
        assert len(parts) == 101
        assert wire.rest() == b""
    poll(lambda: not site.server.counters.connections_open)


def test_client_that_half_closes_gets_a_large_file_and_all_answers_before_it(
    make_site: MakeSite, llhttp: str
) -> None:
    said = converse(make_site(llhttp).address, get("/parts") + get("/big") + get("/parts"))

    assert statuses(said) == [200] * 3
    assert said.count(b"three") == 2
    assert len(said) > 8_000_000


@pytest.mark.parametrize("path", ["/stream", "/open", "/flood"])
def test_client_that_is_reset_during_an_open_response_is_seen_to_go(
    make_site: MakeSite, layer: str, path: str
) -> None:
    site = make_site(layer)
    wire = Wire(site.address)
    wire.send(get(path))
    assert wire.head().status == 200

    wire.reset()

    poll(lambda: site.seen.gone)
    poll(lambda: site.server.counters.in_flight == 0)


STAGES = {
    "in the request line": b"GET /a HT",
    "in the head": b"GET /a HTTP/1.1\r\nHost: exa",
    "in an ordinary body": post("/a", b"x" * 100)[:-50],
    "in a native body": post("/native/a", b"x" * 100)[:-50],
    "in a streamed body": post("/upload", b"x" * 100)[:-50],
    "in a chunk": chunked("/a", b"x" * 100)[:-50],
    "before the answer": get("/wait"),
    "before a native answer": get("/native/a?slow=1"),
    "behind another": get("/wait") + get("/native/a") + post("/a", b"x" * 100)[:-50],
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_client_that_vanishes_at_any_stage_leaves_nothing_behind(
    make_site: MakeSite, layer: str, stage: str, how: str
) -> None:
    site = make_site(layer)
    wire = Wire(site.address)
    wire.send(STAGES[stage])
    if layer != "tornado":
        poll(lambda: site.server.counters.connections_open == 1)

    wire.reset() if how == "reset" else wire.close()
    site.seen.release.set()

    poll(lambda: site.server.counters.in_flight == 0)
    poll(lambda: site.server.counters.connections_open == 0)
    with Wire(site.address) as other:
        assert other.get("/after").status == 200


def test_client_that_never_reads_holds_up_the_writer_only(make_site: MakeSite, layer: str) -> None:
    site = make_site(layer)
    with Wire(site.address, receive_buffer_bytes=4096) as deaf:
        deaf.send(get("/stream"))
        deaf.send(get("/a"))

        with Wire(site.address) as wire:
            assert all(wire.get(f"/{i}").status == 200 for i in range(50))


def test_big_response_to_a_slow_reader_arrives_whole(shared_site: Site) -> None:
    with Wire(shared_site.address, receive_buffer_bytes=4096) as wire:
        answers = [wire.ask(get("/big")), wire.ask(get("/a"))]

    assert [len(answers[0].body), answers[1].status] == [8_000_000, 200]


@pytest.mark.parametrize("size", [0, 1, 65_536, 1024 * 1024 + 1, MAX_BODY_BYTES])
@pytest.mark.parametrize("path", ["/a", "/native/a"])
def test_body_of_every_size_arrives_whole(shared_site: Site, size: int, path: str) -> None:
    body = random.Random(size).randbytes(size)
    with Wire(shared_site.address) as wire:
        assert json.loads(wire.ask(post(path, body)).body)["body_bytes"] == size
        parts = [body[i : i + 10_000] for i in range(0, size, 10_000)]
        assert json.loads(wire.ask(chunked(path, *parts)).body)["body_bytes"] == size

    arrived = [seen for _, target, seen in shared_site.seen.requests if target == path]
    assert arrived[-1] == arrived[-2] == body


@pytest.mark.parametrize("path", ["/a", "/native/a", "/upload"])
def test_expect_continue_is_answered_before_the_body(shared_site: Site, path: str) -> None:
    request = post(path, b"abc", b"Expect: 100-continue\r\n")
    with Wire(shared_site.address) as wire:
        wire.send(request[:-3])
        interim = wire._line()
        assert interim.startswith(b"HTTP/1.1 100 ")
        assert wire._line() == b""
        wire.send(b"abc")

        assert wire.answer().status == 200


def test_chunk_extensions_and_trailers_are_read_and_dropped(
    make_site: MakeSite, llhttp: str
) -> None:
    head = b"POST /a HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n" % HOST
    body = b"3;a=b;c\r\nabc\r\n1\r\nd\r\n0\r\nX: 1\r\nY: 2\r\n\r\n"
    site = make_site(llhttp)
    with Wire(site.address) as wire:
        answers = [wire.ask(head + body), wire.get("/b")]

    assert [answer.status for answer in answers] == [200, 200]
    assert [seen for _, _, seen in site.seen.requests] == [b"abcd", b""]


def test_expect_with_a_body_too_large_is_refused_without_100(shared_site: Site) -> None:
    fields = b"Expect: 100-continue\r\n%bContent-Length: 99999999\r\n\r\n" % HOST

    with connect(shared_site.address) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\n" + fields)
        assert statuses(read_to_end(sock)) == [413]


def test_client_still_sending_a_refused_body_can_read_the_answer(shared_site: Site) -> None:
    head = b"POST / HTTP/1.1\r\n%bContent-Length: 9999999\r\n\r\n" % HOST

    said = converse(shared_site.address, [head, b"x" * 600_000])

    assert statuses(said) == [413]


def test_http_1_0_without_keep_alive_is_closed(shared_site: Site) -> None:
    with connect(shared_site.address) as sock:
        sock.sendall(b"GET /a HTTP/1.0\r\n\r\n")
        said = read_to_end(sock)

    assert statuses(said) == [200]
    assert b"Transfer-Encoding" not in said


@pytest.mark.parametrize("path", ["/a", "/native/a"])
def test_http_1_0_with_keep_alive_goes_on(shared_site: Site, path: str) -> None:
    request = b"GET %b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" % path.encode()
    with Wire(shared_site.address) as wire:
        answers = [wire.ask(request), wire.ask(request)]

    assert [answer.status for answer in answers] == [200, 200]
    assert {(answer.header("Connection") or "").lower() for answer in answers} == {"keep-alive"}


def test_stream_to_http_1_0_ends_with_the_connection(shared_site: Site) -> None:
    with connect(shared_site.address) as sock:
        sock.sendall(b"GET /parts HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        said = read_to_end(sock)

    assert said.endswith(b"\r\n\r\none two three")


def test_stream_to_http_1_1_is_chunked_and_the_connection_goes_on(shared_site: Site) -> None:
    with Wire(shared_site.address) as wire:
        answer = wire.get("/parts")
        after = wire.get("/a")

    assert answer.header("Transfer-Encoding") == "chunked"
    assert [answer.body, after.status] == [b"one two three", 200]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/a", 200),
        ("HEAD", "/parts", 200),
        ("GET", "/nothing", 204),
        ("GET", "/unchanged", 304),
    ],
)
def test_answer_without_a_body_leaves_the_connection_in_step(
    shared_site: Site, method: str, path: str, status: int
) -> None:
    with Wire(shared_site.address) as wire:
        answer = wire.get(path, method=method)
        after = wire.get("/a")

    assert [answer.status, after.status] == [status, 200]


@pytest.mark.parametrize("path", ["/last", "/native/last"])
@pytest.mark.parametrize(
    "last",
    [
        b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\n\r\n",
        b"GET %b HTTP/1.0\r\nHost: a\r\n\r\n",
        b"POST %b HTTP/1.0\r\nHost: a\r\nContent-Length: 1\r\n\r\na",
    ],
)
def test_connection_close_is_honoured_and_what_follows_dropped(
    shared_site: Site, last: bytes, path: str
) -> None:
    before = len(shared_site.seen.requests)
    with connect(shared_site.address) as sock:
        sock.sendall(last % path.encode() + get("/never"))
        said = read_to_end(sock)

    assert statuses(said) == [200]
    assert b"Connection: close" in said or b"HTTP/1.0" in last
    assert [target for _, target, _ in shared_site.seen.requests[before:]] == [path]


@pytest.mark.parametrize("path", ["/a", "/native/a"])
def test_absolute_target_goes_before_the_host_field(shared_site: Site, path: str) -> None:
    with Wire(shared_site.address) as wire:
        answer = wire.ask(b"GET http://other.test%b?q=1 HTTP/1.1\r\n%b\r\n" % (path.encode(), HOST))

    told = json.loads(answer.body)
    assert [told["path"], told["host"]] == [path, "other.test"]


@pytest.mark.parametrize(
    ("target", "native", "path"),
    [
        ("/%6Eative/%7Eann", True, "/native/~ann"),
        ("/%6eative/%2d%2E%5f", True, "/native/-._"),
        ("/native/a%2Fb%20c?%7E", True, "/native/a%2Fb%20c"),
        ("http://x/n%61tive/a", True, "/native/a"),
        ("/native%2Fa", False, "/native/a"),
        ("/%7Eann", False, "/~ann"),
    ],
)
def test_what_need_not_be_encoded_makes_no_other_path(
    shared_site: Site, target: str, native: bool, path: str
) -> None:
    with Wire(shared_site.address) as wire:
        told = json.loads(wire.get(target).body)

    assert (told.get("native", False), told["path"]) == (native, path)


def test_method_that_is_not_registered_reaches_the_application(shared_site: Site) -> None:
    with Wire(shared_site.address) as wire:
        told = [
            json.loads(wire.get("/a", method=m).body)["method"] for m in ("BREW", "get", "GETX")
        ]

    assert told == ["BREW", "get", "GETX"]


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
@pytest.mark.parametrize("path", ["/a", "/native/a", "/upload"])
def test_upgrade_with_a_body_is_read_and_served_as_without(
    shared_site: Site, path: str, protocol: bytes
) -> None:
    fields = (b"Connection: Upgrade\r\n", b"Upgrade: %b\r\n" % protocol)
    with Wire(shared_site.address) as wire:
        for _ in range(2):
            answer = wire.ask(post(path, b"abc", *fields))
            told = json.loads(answer.body)
            assert (answer.status, told.get("body_bytes", told.get("size_bytes"))) == (200, 3)
        assert wire.ask(get("/b")).status == 200


def test_websocket_handshake_with_a_body_is_refused(shared_site: Site) -> None:
    """As other GETs with one: it is never taken for frames."""
    head = b"GET /chat HTTP/1.1\r\n" + HOST
    fields = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 3\r\n\r\n"
    with Wire(shared_site.address) as wire:
        wire.send(head + fields + key + b"abc")
        assert wire.head().status == 413


@pytest.mark.parametrize("path", ["/a", "/native/a"])
def test_proxy_connection_close_does_not_cost_the_next_request(
    shared_site: Site, path: str
) -> None:
    """Proxies pass the field on, and the next request on their connection is another client's."""
    with Wire(shared_site.address) as wire:
        answer = wire.ask(get(path, b"Proxy-Connection: close\r\n"))
        assert answer.status == 200
        if answer.header("Connection") != "close":
            assert wire.ask(get(path)).status == 200


def test_head_that_is_refused_gets_its_status(shared_site: Site) -> None:
    with connect(shared_site.address) as sock:
        # Without a FIN, which to Tornado's connection is the end of the client.
        sock.sendall(b"HEAD / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        said = read_to_end(sock)

    assert statuses(said) == [400]


WEBSOCKET = (
    b"Connection: Upgrade\r\n",
    b"Upgrade: websocket\r\n",
    b"Sec-WebSocket-Version: 13\r\n",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
)


@pytest.mark.parametrize("layer", ["llhttp", "llhttp-asyncio"], indirect=True)
def test_closed_connection_is_freed_without_a_garbage_collection(
    shared_site: Site, layer: str
) -> None:
    requests = [
        b"",
        get("/a"),
        get("/native/a"),
        get("/a", CLOSE),
        get("/native/a", CLOSE),
        get("/a") + get("/native/a") + get("/b"),
        chunked("/a", b"abc"),
        post("/native/a", b"abc"),
        b"FROB / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        post("/a", b"abc")[:-1],
        post("/native/a", b"abc")[:-1],
        post("/a", b"abc", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
        post("/native/a", b"abc", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
        get("/chat", *WEBSOCKET),
    ]
    kinds = (Connection, RequestParser, OrdinaryExchange, NativeExchange)

    def kept() -> int:
        return sum(isinstance(each, kinds) for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = kept()
        for request in requests:
            converse(shared_site.address, request)
        poll(kept, until=lambda now: now <= before)
    finally:
        gc.enable()
