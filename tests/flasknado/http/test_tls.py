"""TLS handshakes count as connections while they last."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable

from flasknado.http.limits import Limits
from tests.flasknado.native.test_exchange import _tls
from tests.flasknado.site import Site
from tests.support.poll import poll
from tests.support.raw import connect, read_to_end, statuses

MakeSite = Callable[..., Site]
GET = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def ask(site: Site) -> list[int]:
    with (
        connect(site.address) as plain,
        client_context().wrap_socket(plain, server_hostname="a") as sock,
    ):
        sock.sendall(GET)
        return statuses(read_to_end(sock))


def test_handshakes_that_never_end_count_as_connections_up_to_the_bound(
    make_site: MakeSite, llhttp: str
) -> None:
    site = make_site(llhttp, ssl_options=_tls(), limits=Limits(max_connections=3))
    counters = site.server.counters
    with contextlib.ExitStack() as held:
        for _ in range(3):
            held.enter_context(connect(site.address))
        poll(lambda: counters.connections_open == 3)
        with connect(site.address) as fourth:
            assert read_to_end(fourth) == b""
        assert (counters.connections_open, counters.connections_refused) == (3, 1)
    poll(lambda: counters.connections_open == 0)

    assert ask(site) == [200]
    poll(lambda: counters.connections_open == 0)


def test_handshake_that_takes_too_long_is_given_up(make_site: MakeSite, llhttp: str) -> None:
    site = make_site(llhttp, ssl_options=_tls(), limits=Limits(header_timeout_s=0.3))
    with connect(site.address) as sock:
        assert read_to_end(sock) == b""
    poll(lambda: site.server.counters.connections_open == 0)


def test_garbage_instead_of_a_handshake_is_closed(make_site: MakeSite, llhttp: str) -> None:
    site = make_site(llhttp, ssl_options=_tls())
    with connect(site.address) as sock:
        sock.sendall(GET)
        read_to_end(sock)
    poll(lambda: site.server.counters.connections_open == 0)
    assert ask(site) == [200]
    assert len(site.seen.requests) == 1


def test_many_requests_over_tls_are_answered(make_site: MakeSite, llhttp: str) -> None:
    site = make_site(llhttp, ssl_options=_tls())

    assert [ask(site) for _ in range(20)] == [[200]] * 20
