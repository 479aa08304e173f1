"""`metrics`: what all workers together have counted, in Prometheus's text format.

Workers count in plain integers and write them down once a second (`flasknado.ops.metrics.workers`).
The client library sees them when somebody asks, so a request pays next to nothing.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.registry import Collector

from flasknado.ops.health import OpsHandler
from flasknado.ops.metrics import sources
from flasknado.ops.metrics.access import Allowed
from flasknado.ops.metrics.model import Family, added, exposed, with_worker
from flasknado.ops.metrics.requests import Requests
from flasknado.ops.metrics.workers import Snapshots
from flasknado.server import HTTPServer

REFUSED = (
    "the metrics are shown to who has the token (--metrics-token), on an address of their own "
    "(--ops-bind), or to direct clients of --metrics-allow, not through a proxy"
)


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
            *sources.memory(server),
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
    """The metrics of all workers; 403 for who may not read them."""

    def initialize(self, metrics: Metrics, allowed: Allowed, own_address: bool = False) -> None:
        self.metrics = metrics
        self.allowed = allowed
        self.own_address = own_address

    async def get(self) -> None:
        if not self.allowed.allows(self.request, self.own_address):
            self.set_status(403)
            self.write({"message": REFUSED, "code": 403})
            return
        text, content_type = await self.metrics.exposition(self.request.headers.get("Accept", ""))
        self.set_header("Content-Type", content_type)
        self.write(text)
