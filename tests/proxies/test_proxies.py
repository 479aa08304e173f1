"""What a view and `live.authorize` see behind each proxy, with a client that forges every field.

The client asks from 127.0.0.7, so that its address is neither the proxy's nor the server's.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.nginx.__main__ import TRUSTED_FIELDS
from config.nginx.template import Site, render
from flasknado.server import LAYERS
from tests.proxies.proxy import (
    BARE,
    GUNICORNS_RECIPE,
    WITH_PREFIX,
    apache,
    free_port,
    haproxy,
    nginx,
    running,
)
from tests.support.process import ServerProcess, server_process
from tests.support.programs import need

CLIENT = "127.0.0.7"
PROXY = "127.0.0.1"
TOKEN = "a-token-of-some-length"
FORGED = {
    "X-Forwarded-For": "127.0.0.1, 6.6.6.6",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "666",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Ssl": "on",
    "X-Forwarded-Protocol": "ssl",
    "X-Forwarded-Server": "evil.example",
    "X-Real-IP": "6.6.6.6",
    "X-Request-ID": "forged",
    "X-Script-Name": "/evil",
    "Client-Cert": ":AAAA:",
    "Forwarded": "for=127.0.0.1;host=evil.example;proto=https",
}


ALL_OF_THE_PROXYS = {
    "address": CLIENT,
    "scheme": "http",
    "host": "shop.example",
    "prefix": "",
    "request_id": "the proxy",
    "url": "http://shop.example/view",
}


def get(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Return status and body of an answer; a stream is left once it has begun."""
    connection = http.client.HTTPConnection("127.0.0.1", port, 20, (CLIENT, 0))
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, b"" if "/events" in path else answer.read()
    finally:
        connection.close()


def seen(port: int, host: str | None = None, prefix: str = "") -> dict[str, Any]:
    """Return what a view sees, and check that `live.authorize` sees the same."""
    headers = {**FORGED, **({"Host": host} if host else {})}
    status, body = get(port, f"{prefix}/view", headers)
    assert status == 200, body
    view: dict[str, Any] = json.loads(body)
    assert get(port, f"{prefix}/live/events?channel=a", headers)[0] == 200
    live = json.loads(get(port, f"{prefix}/asked")[1])
    for told in (view, live):
        told["request_id"] = maker(told["request_id"])
    assert live == view
    return view


def maker(request_id: str) -> str:
    """Return who has made a request id: each is another."""
    if re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", request_id):
        return "the server"
    # nginx's $request_id, and the unique-id that HAProxy is told to make below.
    made = re.fullmatch(r"[0-9a-f]{32}|7F000007:[0-9A-F_:]+", request_id)
    return "the proxy" if made else request_id


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """`servers(*options, unix=False)` is a running server; one for each set of options."""
    started: dict[tuple[Any, ...], tuple[ServerProcess, str]] = {}
    with contextlib.ExitStack() as stack:

        def serve(*options: str, unix: bool = False) -> str:
            key = (*options, unix)
            if key not in started:
                path = tmp_path_factory.mktemp("server") / "server.sock"
                bind = f"unix:{path}" if unix else "127.0.0.1:0"
                handlers = ("--handlers", "flasknado.live:routes")
                command = ("-m", "flasknado", "--bind", bind, *handlers, *options)
                server = stack.enter_context(
                    server_process((*command, "tests.proxies.application:app"))
                )
                upstream = bind if unix else f"127.0.0.1:{server.port}"
                started[key] = (server, upstream)
            return started[key][1]

        yield serve


def test_gunicorns_recipe_is_believed_in_the_scheme(servers: Any, tmp_path: Path) -> None:
    with nginx(tmp_path, servers(unix=True), GUNICORNS_RECIPE) as port:
        assert seen(port, host="shop.example") == {
            "address": "",
            "scheme": "http",
            "host": "shop.example",
            "prefix": "",
            "request_id": "the server",
            "url": "http://shop.example/view",
        }
        assert get(port, "/-/metrics")[0] == 403


def test_gunicorns_recipe_with_the_address_named_tells_the_clients(
    servers: Any, tmp_path: Path
) -> None:
    upstream = servers("--trusted-fields", "proto,for", unix=True)
    with nginx(tmp_path, upstream, GUNICORNS_RECIPE) as port:
        told = seen(port, host="shop.example")
        assert (told["address"], told["url"]) == (CLIENT, "http://shop.example/view")
        assert get(port, "/-/metrics")[0] == 403


def test_bare_proxy_pass_lets_the_client_say_the_scheme_as_gunicorn_does(
    servers: Any, tmp_path: Path
) -> None:
    with nginx(tmp_path, servers(), BARE) as port:
        assert seen(port) == {
            "address": PROXY,
            "scheme": "https",
            "host": "app-server",
            "prefix": "",
            "request_id": "the server",
            "url": "https://app-server/view",
        }
        assert get(port, "/-/metrics")[0] == 403


def test_proxy_that_sets_nothing_and_is_trusted_in_nothing_lets_the_client_say_nothing(
    servers: Any, tmp_path: Path
) -> None:
    upstream = servers("--trusted-fields", "none")
    for proxy in (nginx(tmp_path, upstream, BARE), haproxy(tmp_path, upstream)):
        with proxy as port:
            told = seen(port, host="shop.example")
            assert (told["address"], told["scheme"]) == (PROXY, "http")


def test_haproxy_as_it_comes_lets_the_client_say_the_scheme_as_gunicorn_does(
    servers: Any, tmp_path: Path
) -> None:
    with haproxy(tmp_path, servers()) as port:
        assert seen(port, host="shop.example") == {
            "address": PROXY,
            "scheme": "https",
            "host": "shop.example",
            "prefix": "",
            "request_id": "the server",
            "url": "https://shop.example/view",
        }
        assert get(port, "/-/metrics")[0] == 403
        assert get(port, "/-/metrics", FORGED)[0] == 403


def test_haproxy_that_adds_nothing_shows_no_metrics_once_there_is_a_token(
    servers: Any, tmp_path: Path
) -> None:
    upstream = servers("--metrics-token", TOKEN)
    with haproxy(tmp_path, upstream) as port:
        assert get(port, "/-/metrics", {"Host": upstream})[0] == 403
        assert get(port, "/-/metrics", {"Authorization": f"Bearer {TOKEN}"})[0] == 200


def test_haproxy_that_sets_the_fields_is_believed_in_those(servers: Any, tmp_path: Path) -> None:
    upstream = servers("--trusted-fields", "proto,for,request-id")
    options = (
        "option forwardfor",
        "http-request set-header X-Forwarded-Proto http",
        "unique-id-format %{+X}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid",
        "http-request set-header X-Request-ID %[unique-id]",
    )
    with haproxy(tmp_path, upstream, *options) as port:
        assert seen(port, host="shop.example") == ALL_OF_THE_PROXYS
        assert get(port, "/-/metrics", {"Host": upstream})[0] == 403


def test_apache_as_it_comes_lets_the_client_say_the_scheme_as_gunicorn_does(
    servers: Any, tmp_path: Path
) -> None:
    upstream = servers()
    with apache(tmp_path, upstream) as port:
        assert seen(port, host="shop.example") == {
            "address": PROXY,
            "scheme": "https",
            "host": upstream,
            "prefix": "",
            "request_id": "the server",
            "url": f"https://{upstream}/view",
        }
        assert get(port, "/-/metrics")[0] == 403


def test_apache_with_what_it_sets_named_tells_address_and_host(
    servers: Any, tmp_path: Path
) -> None:
    upstream = servers("--trusted-fields", "for,host,proto")
    with apache(tmp_path, upstream, "RequestHeader set X-Forwarded-Proto http") as port:
        told = seen(port, host="shop.example")
        assert (told["address"], told["url"]) == (CLIENT, "http://shop.example/view")


@pytest.mark.parametrize("layer", LAYERS)
def test_nginx_that_serves_a_prefix_tells_it(servers: Any, tmp_path: Path, layer: str) -> None:
    upstream = servers("--trusted-fields", "proto,prefix", "--http", layer)
    with nginx(tmp_path, upstream, WITH_PREFIX, "/shop/") as port:
        told = seen(port, host="shop.example", prefix="/shop")
        assert (told["prefix"], told["url"]) == ("/shop", "http://shop.example/shop/view")


def test_our_nginx_is_believed_in_all_that_it_sets(servers: Any, tmp_path: Path) -> None:
    upstream = servers("--trusted-fields", TRUSTED_FIELDS)
    port = free_port()
    configuration = tmp_path / "nginx.conf"
    site = Site(f"127.0.0.1:{port}", [upstream], tmp_path, max_body_mb=1, open_files=512)
    configuration.write_text(render(site))
    tmp_path.chmod(0o755)
    command = (need("nginx"), "-e", "stderr", "-p", str(tmp_path), "-c", str(configuration))
    with running(command, port):
        assert seen(port, host="shop.example") == ALL_OF_THE_PROXYS
        assert get(port, "/-/metrics")[0] == 404


def test_everybody_trusted_does_not_open_the_metrics(servers: Any) -> None:
    upstream = servers("--forwarded-allow-ips", "*", "--trusted-fields", "proto,for")
    port = int(upstream.rpartition(":")[2])
    assert get(port, "/-/metrics", {"X-Forwarded-For": "127.0.0.1, 8.8.8.8"})[0] == 403
    view = json.loads(get(port, "/view", {"X-Forwarded-For": "127.0.0.1, 8.8.8.8"})[1])
    assert view["address"] == "8.8.8.8"
