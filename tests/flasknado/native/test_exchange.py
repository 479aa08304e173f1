"""Tornado's handlers on every layer: WebSocket, streamed bodies, addresses, TLS, Unix sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tornado.test
import websockets.sync.client
from tornado.netutil import bind_unix_socket

from flasknado import HTTPServer
from flasknado.http.message import Finished
from tests.flasknado.site import LOOPS, Seen, Site, make_server
from tests.flasknado.wsgi.wire import Wire
from tests.support.poll import poll
from tests.support.raw import connect, converse, read_to_end, statuses
from tests.support.serving import serving

MakeSite = Callable[..., Site]
KEYS = Path(tornado.test.__file__).parent


def url(site: Site) -> str:
    return f"ws://{site.address[0]}:{site.address[1]}/chat"


def test_websocket_echoes_messages_of_every_size(shared_site: Site) -> None:
    with websockets.sync.client.connect(url(shared_site), max_size=None) as chat:
        for message in ("hello", "x" * 200, "y" * 100_000, b"\x00" * 3_000_000):
            chat.send(message)
            assert chat.recv(timeout=20) == message


def test_websocket_frames_sent_with_the_handshake_are_not_lost(shared_site: Site) -> None:
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    head = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    hello = bytes([0x81, 0x85, 0, 0, 0, 0]) + b"hello"
    with connect(shared_site.address) as sock:
        sock.sendall(head + key + b"\r\n" + hello)
        said = b""
        while b"hello" not in said:
            said += sock.recv(4096)

    assert statuses(said) == [101]
    assert said.endswith(b"\x81\x05hello")


def test_websocket_client_that_vanishes_is_seen_to_go(make_site: MakeSite, layer: str) -> None:
    site = make_site(layer)
    with websockets.sync.client.connect(url(site)) as chat:
        chat.send("hello")
        assert chat.recv(timeout=20) == "hello"
        chat.socket.shutdown(socket.SHUT_RDWR)

    poll(lambda: "chat" in site.seen.gone)
    if layer != "tornado":
        poll(lambda: site.server.counters.connections_open == 0)
        assert site.server.counters.connections_upgraded == 0


def test_streamed_body_waits_for_a_handler_that_is_busy(make_site: MakeSite, layer: str) -> None:
    site = make_site(layer)
    size = 40_000_000
    with connect(site.address) as sock:
        sock.sendall(
            b"POST /upload?blocked=1 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size
        )
        sock.setblocking(False)
        sent = 0

        def stuck() -> bool:
            nonlocal sent
            try:
                sent += sock.send(b"x" * min(100_000, size - sent))
            except BlockingIOError:
                return True
            return sent == size

        poll(lambda: all(stuck() for _ in range(20)))
        assert sent < size, "the server took it all while its handler was busy"

        site.seen.release.set()
        sock.settimeout(20)
        sock.sendall(b"x" * (size - sent))
        said = b""
        while b"}" not in said:
            said += sock.recv(4096)

    assert json.loads(said.partition(b"\r\n\r\n")[2])["size_bytes"] == size


def _tls() -> dict[str, Any]:
    return {"certfile": str(KEYS / "test.crt"), "keyfile": str(KEYS / "test.key")}


@pytest.mark.parametrize("path", ["/a", "/native/a"])
def test_tls_serves_both_halves_and_says_so(make_site: MakeSite, layer: str, path: str) -> None:
    site = make_site(layer, ssl_options=_tls())
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with connect(site.address) as sock, context.wrap_socket(sock) as tls:
        tls.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path.encode())
        said = read_to_end(tls)

    assert json.loads(said.partition(b"\r\n\r\n")[2])["scheme"] == "https"


def test_plain_bytes_on_the_tls_port_are_closed(make_site: MakeSite, layer: str) -> None:
    site = make_site(layer, ssl_options=_tls())

    assert statuses(converse(site.address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")) == []


@pytest.mark.parametrize("path", ["/a", "/native/a"])
def test_unix_socket_serves_both_halves(tmp_path: Path, layer: str, path: str) -> None:
    place = str(tmp_path / "s")
    seen = Seen()

    def make() -> HTTPServer:
        server = make_server(seen, layer, trusted_proxies=["unix"], trusted_fields=["for", "proto"])
        server.add_sockets([bind_unix_socket(place)])
        return server

    fields = b"X-Forwarded-For: 9.8.7.6\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n"
    with serving(make, new_loop=LOOPS[layer]), connect(place) as sock:
        sock.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (path.encode(), fields))
        told = json.loads(read_to_end(sock).partition(b"\r\n\r\n")[2])

    assert [told["client"], told["scheme"]] == ["9.8.7.6", "https"]


@pytest.mark.parametrize("path", ["/a", "/native/a"])
@pytest.mark.parametrize("trusted", [True, False])
def test_forwarded_client_is_believed_from_trusted_proxies_only(
    make_site: MakeSite, layer: str, path: str, trusted: bool
) -> None:
    site = make_site(
        layer,
        trusted_proxies=["127.0.0.1"] if trusted else ["10.0.0.0/8"],
        trusted_fields=["for", "proto", "host"],
    )
    forwarded = (
        b"X-Forwarded-For: 1.1.1.1, 9.8.7.6\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Host: shop.test\r\n"
    )
    with Wire(site.address) as wire:
        told = json.loads(
            wire.ask(b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (path.encode(), forwarded)).body
        )
        after = json.loads(wire.get(path).body)

    expected = ["9.8.7.6", "https", "shop.test"] if trusted else ["127.0.0.1", "http", "a"]
    assert [told["client"], told["scheme"], told["host"]] == expected
    assert [after["client"], after["scheme"]] == ["127.0.0.1", "http"]


@pytest.mark.parametrize("path", ["/a", "/native/a"])
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("shop.test", 200),
        ("SHOP.test:8000", 200),
        ("shop.test.", 200),
        ("a.wide.test", 200),
        ("wide.test", 200),
        ("evilwide.test", 400),
        ("shop.test.evil.test", 400),
        ("a.shop.test", 400),
        ("127.0.0.1", 400),
    ],
)
def test_host_that_is_not_trusted_is_refused(
    make_site: MakeSite, layer: str, path: str, host: str, status: int
) -> None:
    site = make_site(layer, trusted_hosts=["shop.test", ".wide.test"])
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()

    with connect(site.address) as sock:
        sock.sendall(request)
        assert statuses(read_to_end(sock)) == [status]
    assert bool(site.seen.requests) is (status == 200)


def test_hook_is_told_of_every_exchange_once(make_site: MakeSite, layer: str) -> None:
    site = make_site(layer)
    told: list[tuple[int, str]] = []

    def hook(finished: Finished) -> None:
        assert finished.sent_bytes > 0
        assert 0 <= finished.duration_s < 20
        told.append((finished.status, finished.half))

    def set_hook() -> None:
        site.server.on_response = hook

    site.serving.on_loop(set_hook)
    with Wire(site.address) as wire:
        wire.get("/a")
        wire.get("/parts")
        wire.get("/native/a")
    poll(lambda: len(told) == 3)
    assert told == [(200, "ordinary"), (200, "ordinary"), (200, "native")]
    assert site.server.counters.requests["ordinary"] == 2
    assert site.server.counters.requests["native"] == 1


def test_drain_answers_what_runs_and_closes_its_connection(
    make_site: MakeSite, llhttp: str
) -> None:
    site = make_site(llhttp)
    with Wire(site.address) as busy:
        busy.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        poll(lambda: site.server.counters.running["ordinary"])
        draining = asyncio.run_coroutine_threadsafe(site.server.drain(20), site.serving.loop)
        poll(lambda: site.server.draining)
        site.seen.release.set()
        answer = busy.answer()

        assert answer.status == 200
        assert answer.header("Connection") == "close"
        assert busy.rest() == b""
    assert draining.result(20) is True
