"""`metrics`: what all workers together have counted, in Prometheus's text format.

Workers count in plain integers and write them down once a second (`flasknado.ops.snapshots`).
The client library sees them when somebody asks, so a request pays next to nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import time
from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.registry import Collector

from flasknado.errors import ConfigurationError
from flasknado.http.server import HTTPServer
from flasknado.ops import sources
from flasknado.ops.counting import Requests
from flasknado.ops.families import Family, added, exposed, with_worker
from flasknado.ops.health import OpsHandler
from flasknado.ops.snapshots import Snapshots

UNIX_SOCKET = "unix"
LOCAL = ("127.0.0.0/8", "::1", UNIX_SOCKET)


class Metrics:
    """The numbers of one server, and of the workers beside it; on the loop's thread.

    snapshots, age: where the workers put theirs, and which of them this is. Without,
    this process is all there is.
    """

    def __init__(self, server: HTTPServer, snapshots: Snapshots | None = None, age: int = 0):
        self.requests = Requests(server.native)
        self._server = server
        self._snapshots = snapshots
        self._age = age
        self._ended: str | None = None
        self._started_at = time.time()
        self._live = sources.LiveSource(server)

    def families(self) -> list[Family]:
        """Return the numbers of this process."""
        server = self._server
        further = server.native.application.settings.get(sources.SOURCES_KEY, ())
        return [
            *self.requests.families(),
            *sources.connections(server),
            *sources.pool(server),
            *sources.process(self._started_at),
            *self._live(),
            *(family for source in further for family in source()),
        ]

    def write(self, ended: str | None = None) -> None:
        """Write the numbers down for the other workers; `ended` says why this one ends.

        What is said first of the end holds, and nothing is written after it.
        """
        if self._snapshots is not None and self._ended is None:
            self._ended = ended
            self._snapshots.write(self._age, self.families(), ended)

    async def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return the text of the metrics, and its content type, for an `Accept` field.

        Files are read and text is made on another thread.
        """
        # Written first: what one worker shows, no other may show less of.
        self.write()
        families = self.families() if self._snapshots is None else []
        return await asyncio.to_thread(self._expose, families, accept)

    def _expose(self, own: list[Family], accept: str) -> tuple[bytes, str]:
        if self._snapshots is not None:
            families = self._snapshots.total()
        else:
            total: dict[str, Family] = {}
            added(total, own)
            with_worker(total, own, str(os.getpid()))
            families = list(total.values())
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Exposed(families))
        PlatformCollector(registry=registry)
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type


class _Exposed(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return map(exposed, self._families)


class MetricsHandler(OpsHandler):
    """The metrics of all workers; 403 for an address that is not trusted.

    The address is the client's, so that a proxy on this machine does not open it to the world.
    """

    def initialize(self, metrics: Metrics, allowed: Allowed) -> None:
        self.metrics = metrics
        self.allowed = allowed

    async def get(self) -> None:
        if not self.allowed.allows(self.request.remote_ip):
            self.set_status(403)
            self.write({"message": "metrics are shown to trusted addresses only", "code": 403})
            return
        text, content_type = await self.metrics.exposition(self.request.headers.get("Accept", ""))
        self.set_header("Content-Type", content_type)
        self.write(text)


class Allowed:
    """The addresses that may see the metrics.

    `networks` are IP addresses, CIDR blocks, `unix` for peers on a Unix socket, or `*`.
    Raises `ConfigurationError` for anything else.
    """

    def __init__(self, networks: Iterable[str] = LOCAL) -> None:
        self._networks: list[Any] = []
        self._unix = self._everybody = False
        for text in networks:
            if text == UNIX_SOCKET:
                self._unix = True
            elif text == "*":
                self._everybody = True
            else:
                self._networks.append(_network(text))

    def allows(self, address: str | None) -> bool:
        """Return whether an address is among them; a Unix socket's peer is `0.0.0.0` in Tornado."""
        if self._everybody:
            return True
        try:
            ip: Any = ipaddress.ip_address((address or "").partition("%")[0])
        except ValueError:
            return False
        if getattr(ip, "ipv4_mapped", None) is not None:
            ip = ip.ipv4_mapped
        return (self._unix and ip.is_unspecified) or any(ip in known for known in self._networks)


def _network(text: str) -> Any:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ConfigurationError(
            f"metrics_allow has {text!r}, which is not an IP address, a CIDR block such as "
            f"10.0.0.0/8, 'unix' or '*': correct it"
        ) from None
