"""`metrics`: what all workers together have counted, in Prometheus's text format.

Workers count in plain integers and write them down once a second (`flasknado.ops.metrics.workers`).
The client library sees them when somebody asks, so a request pays next to nothing.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from functools import partial

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.registry import Collector

from flasknado.native.lane import Call, LaneSettings, lane_of
from flasknado.ops.health import OpsHandler
from flasknado.ops.metrics import sources
from flasknado.ops.metrics.access import Allowed
from flasknado.ops.metrics.model import GAUGE, Family, added, exposed, labelled, with_worker
from flasknado.ops.metrics.requests import Requests
from flasknado.ops.metrics.workers import Snapshots
from flasknado.pool import PoolFull
from flasknado.server import HTTPServer

log = logging.getLogger("flasknado.ops")

METRICS_KEY = "metrics"
"""The setting of a server's native application that holds its `Metrics`."""

LANE = LaneSettings("metrics", 1, 8)
TIMEOUT_S = 5.0

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
        self.requests = Requests()
        self._server = server
        self._snapshots = snapshots
        self._age = age
        self._ended: str | None = None
        self._started_at = time.time()
        self._own: dict[str, sources.Source] = {
            "requests": self.requests.families,
            "connections": partial(sources.connections, server),
            "memory": partial(sources.memory, server),
            "pool": partial(sources.pool, server),
            "process": partial(sources.process, self._started_at),
            "live": sources.LiveSource(server),
        }
        self._failing: dict[str, float] = {}

    def families(self) -> list[Family]:
        """Return the numbers of this process, without those of a source that fails."""
        further = self._server.native.application.settings.get(sources.SOURCES_KEY, ())
        families: list[Family] = []
        for name, source in [
            *self._own.items(),
            *((_name_of(source), source) for source in further),
        ]:
            try:
                families += source()
            except Exception:
                if not self._failing.get(name):
                    log.exception("the metrics of %s are missing: their source failed", name)
                self._failing[name] = 1
            else:
                self._failing[name] = 0
        meaning = "1 while a source of numbers fails: they are unknown."
        failing = labelled(GAUGE, "metrics_source_failing", meaning, "source", self._failing)
        return [*families, failing]

    def write(self, ended: str | None = None) -> None:
        """Write the numbers down for the other workers; `ended` says why this one ends.

        What is said first of the end holds, and nothing is written after it.
        """
        if self._snapshots is not None and self._ended is None:
            self._ended = ended
            self._snapshots.write(self._age, self.families(), ended)

    async def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return the text of the metrics, and its content type, for an `Accept` field.

        Files are read and text is made on a thread of its own, which nobody else keeps busy.
        Raises `PoolFull` if too many ask at once, and `TimeoutError` if it takes too long.
        """
        # Written first: what one worker shows, no other may show less of.
        self.write()
        families = self.families() if self._snapshots is None else []
        call = Call("the text of the metrics", partial(self._expose, families, accept))
        exposed: tuple[bytes, str] = await lane_of(LANE, self._server).run(call, TIMEOUT_S)
        return exposed

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


def read_metrics(server: HTTPServer) -> list[Family]:
    """Return the numbers of this process, as `/-/metrics` has them; on the loop's thread.

    Histograms are the counts of their buckets, with the sum in seconds after them. Without
    `serve` or the command `flasknado` nobody counts, and there are none.
    """
    metrics: Metrics | None = server.native.application.settings.get(METRICS_KEY)
    return [] if metrics is None else metrics.families()


def _name_of(source: sources.Source) -> str:
    return getattr(source, "__qualname__", type(source).__qualname__)


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
        accept = self.request.headers.get("Accept", "")
        try:
            text, content_type = await self.metrics.exposition(accept)
        except (PoolFull, TimeoutError):
            self.set_status(503)
            self.set_header("Retry-After", "5")
            self.write({"message": "the metrics could not be read in time", "code": 503})
            return
        self.set_header("Content-Type", content_type)
        self.write(text)
