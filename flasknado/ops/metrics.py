"""`metrics`: the server's gauges in Prometheus's text format, for trusted addresses only.

The numbers are plain integers that the server keeps anyway; they are handed to the client
library when somebody asks, so an ordinary request pays nothing.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from flasknado.http.server import HTTPServer
from flasknado.ops.health import OpsHandler


class Metrics(Collector):
    """The numbers of one worker process; read on the loop's thread.

    Every metric carries the worker's process id, because one scrape reaches one worker.
    """

    def __init__(self, server: HTTPServer) -> None:
        self._server = server
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges (`prometheus_client`'s collector interface)."""
        worker = str(os.getpid())

        def gauge(name: str, meaning: str, value: float) -> Metric:
            family = GaugeMetricFamily(f"flasknado_{name}", meaning, labels=["worker"])
            family.add_metric([worker], value)
            return family

        yield gauge("draining", "1 while the worker drains.", float(self._server.draining))
        container = self._server.container
        if container is not None:
            pool = container.pool
            yield gauge("pool_threads", "Threads that run the application.", pool.threads)
            yield gauge("pool_threads_busy", "Threads that run a request now.", pool.busy)
            yield gauge("pool_queue_requests", "Requests that wait for a thread.", pool.queued)
            yield gauge("pool_queue_limit", "Requests that may wait.", pool.queue_limit)


class MetricsHandler(OpsHandler):
    """The metrics of the worker that happens to answer; 403 from an address that is not local.

    The address is the client's, so that a proxy on this machine does not open it to the world.
    """

    def initialize(self, metrics: Metrics) -> None:
        self.metrics = metrics

    def get(self) -> None:
        if not is_local(self.request.remote_ip):
            self.set_status(403)
            self.write({"message": "metrics are shown to local addresses only", "code": 403})
            return
        encode, content_type = choose_encoder(self.request.headers.get("Accept", ""))
        self.set_header("Content-Type", content_type)
        self.write(encode(self.metrics.registry))


def is_local(address: str | None) -> bool:
    """Return whether an address is of this machine; a Unix socket's peer (`0.0.0.0`) is."""
    try:
        ip = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    return ip.is_loopback or ip.is_unspecified
