"""Live clients in the metrics: by transport while they are there, by reason when they go."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import requests

from flasknado import HTTPServer, ops
from flasknado.live.state import state_of
from tests.flasknado.live.helpers import make_app
from tests.support.poll import poll
from tests.support.raw import connect
from tests.support.serving import Serving, serving

STREAM = b"GET /live/%s?channel=a HTTP/1.1\r\nHost: a\r\n\r\n"


def metric(server: Serving, name: str) -> float | None:
    text = requests.get(server.url + "/-/metrics", timeout=5).text
    match = re.search(rf"(?m)^flasknado_{re.escape(name)}\S* (\S+)$", text)
    return float(match[1]) if match else None


def test_live_clients_are_counted_by_transport_and_by_reason(tmp_path: Path) -> None:
    live_app = make_app(tmp_path)

    def make() -> HTTPServer:
        server = live_app.server()
        ops.install(server)
        return server

    with serving(make) as server:
        clients: list[socket.socket] = []
        for transport in (b"events", b"events", b"ndjson"):
            client = connect(server.address)
            client.sendall(STREAM % transport)
            assert client.recv(12) == b"HTTP/1.1 200"
            clients.append(client)
        poll(lambda: metric(server, 'live_subscribers{transport="sse"'), lambda n: n == 2)
        assert metric(server, 'live_subscribers{transport="ndjson"') == 1
        live_app.publish("a", "a")
        poll(lambda: metric(server, "live_deliveries_total"), lambda n: n == 6)
        [hub] = state_of(live_app.app).hubs.values()
        server.on_loop(lambda: hub.kick(next(iter(hub._subscribers)), "revoked"))
        assert metric(server, 'live_disconnects_total{reason="revoked"}') == 1
        for client in clients:
            client.close()
        poll(lambda: metric(server, 'live_subscribers{transport="sse"'), lambda n: n == 0)
        # The hub goes before the worker, and what it has counted stays.
        server.on_loop(hub.close)
        assert metric(server, "live_deliveries_total") == 6
    with live_app.app.app_context():
        live_app.db.engine.dispose()
