"""Who may read the metrics: over sockets, with what proxies leave in requests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
from tornado.netutil import bind_unix_socket

from flasknado import HTTPServer, WSGIContainer, ops
from flasknado.errors import ConfigurationError
from flasknado.ops.metrics.access import Allowed
from flasknado.server import LAYERS
from tests.support.raw import connect, read_to_end, statuses
from tests.support.serving import Serving, serving

TOKEN = "a-token-of-some-length"


@contextlib.contextmanager
def shown_to(
    allowed: Allowed, layer: str = "llhttp", path: Path | None = None, **options: Any
) -> Iterator[Serving]:
    def make() -> HTTPServer:
        server = HTTPServer(WSGIContainer(flask.Flask("metrics")), http=layer, **options)
        ops.install(server, allowed=allowed)
        if path is not None:
            server.add_sockets([bind_unix_socket(str(path))])
        return server

    with serving(make) as running:
        yield running


def status(
    address: tuple[str, int] | str, *fields: str, host: str | None = None, version: str = "1.1"
) -> int:
    if host is None:
        host = "localhost" if isinstance(address, str) else f"{address[0]}:{address[1]}"
    head = [f"GET /-/metrics HTTP/{version}", f"Host: {host}", "Connection: close", *fields, "", ""]
    with connect(address) as sock:
        sock.sendall("\r\n".join(head).encode())
        (code,) = statuses(read_to_end(sock))
    return code


@pytest.mark.parametrize("layer", LAYERS)
def test_metrics_by_default_are_shown_to_this_machine_when_it_asks_itself(layer: str) -> None:
    with shown_to(Allowed(), layer) as server:
        port = server.port
        assert status(server.address) == 200
        assert status(server.address, host=f"localhost:{port}") == 200
        assert status(server.address, host=f"127.0.0.9:{port}") == 200
        # A page whose name leads here, a proxy's own port, and one that does not say it.
        assert status(server.address, host=f"evil.example:{port}") == 403
        assert status(server.address, host=f"localhost:{port - 1}") == 403
        assert status(server.address, host="localhost") == 403
        assert status(server.address, version="1.0") == 403


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("networks", [None, ["127.0.0.1"], ["*"]])
def test_metrics_are_not_shown_to_what_a_proxy_has_left_a_trace_in(
    layer: str, networks: list[str] | None
) -> None:
    options = {"trusted_proxies": ["*"], "trusted_fields": ["proto", "for"]}
    with shown_to(Allowed(networks), layer, **options) as server:
        assert status(server.address) == 200
        for field in (
            "X-Forwarded-For: 127.0.0.1",
            "X-Forwarded-For: 127.0.0.1, 8.8.8.8",
            "X-Forwarded-Proto: http",
            "x-forwarded-whatever: 1",
            "Forwarded: for=127.0.0.1",
            "Via: 1.1 cache",
            "X-Real-IP: 127.0.0.1",
            "X-Request-ID: abc",
            "CF-Connecting-IP: 127.0.0.1",
            "X-Forwarded-For:",
        ):
            assert status(server.address, field) == 403, field


@pytest.mark.parametrize("layer", LAYERS)
def test_metrics_on_a_unix_socket_are_shown_only_if_it_is_listed(
    tmp_path: Path, layer: str
) -> None:
    place = tmp_path / "s"
    with shown_to(Allowed(), layer, place):
        assert status(str(place)) == 403
    with shown_to(Allowed(["unix"]), layer, place) as server:
        assert status(str(place)) == 200
        assert status(str(place), "X-Forwarded-For: 127.0.0.1") == 403
        assert status(server.address) == 403


def test_metrics_with_a_token_are_shown_to_who_sends_it_only() -> None:
    with shown_to(Allowed(token=TOKEN)) as server:
        assert status(server.address) == 403
        assert status(server.address, f"Authorization: Bearer {TOKEN}", "Via: 1.1 a") == 200
        assert status(server.address, f"authorization: bearer {TOKEN}", version="1.0") == 200
        for wrong in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer ", "Bearer \xe9"):
            assert status(server.address, f"Authorization: {wrong}") == 403, wrong


def test_metrics_with_a_token_and_networks_are_shown_to_both() -> None:
    with shown_to(Allowed(["127.0.0.1"], TOKEN)) as server:
        assert status(server.address) == 200
        assert status(server.address, "Via: 1.1 a") == 403
        assert status(server.address, f"Authorization: Bearer {TOKEN}", "Via: 1.1 a") == 200


def test_metrics_for_nobody_are_shown_to_nobody() -> None:
    with shown_to(Allowed(["none"])) as server:
        assert status(server.address) == 403


def test_metrics_for_listed_networks_may_be_asked_by_any_name() -> None:
    with shown_to(Allowed(["127.0.0.0/8"])) as server:
        assert status(server.address, host="shop-1.internal:9") == 200


@pytest.mark.parametrize(
    ("networks", "token", "said"),
    [
        (["10.0.0.0/99"], "", r"metrics_allow: '10\.0\.0\.0/99' is not"),
        (["none", "10.0.0.1"], "", "metrics_allow: 'none' must stand alone"),
        (None, "short", "metrics_token must be at least 16 ASCII characters"),
        (None, "sixteen characters and spaces", "metrics_token must be .* without spaces"),
    ],
)
def test_setting_with_a_bad_value_is_refused(
    networks: list[str] | None, token: str, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Allowed(networks, token)
