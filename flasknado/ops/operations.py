"""What operators get of one server: health, readiness, metrics, access log; put together here."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Any

from flasknado.http.counters import EndHook
from flasknado.http.message import Finished
from flasknado.native.direct import no_line
from flasknado.ops import vitals
from flasknado.ops.health import HealthHandler, Readiness, ReadinessHandler
from flasknado.ops.logs.access import AccessLog
from flasknado.ops.logs.access_lines import JSONTemplate, Template
from flasknado.ops.metrics.access import Allowed
from flasknado.ops.metrics.exposition import METRICS_KEY, Metrics, MetricsHandler
from flasknado.ops.metrics.model import COUNTER, GAUGE, Family, labelled, single
from flasknado.ops.metrics.sources import add_source
from flasknado.ops.metrics.workers import Snapshots
from flasknado.server import HTTPServer

if TYPE_CHECKING:
    from flasknado.native.routes import NativeRoute


class Operations:
    """Counts and logs what a server does; belongs to the loop's thread.

    Readiness asks the checks in the server's setting `readiness_checks`, a mapping of name
    to callable (`flasknado.ops.health.ReadinessCheck`), beside those of `flasknado.ops.vitals`.

    snapshots, age: where the workers of an arbiter add up their numbers, and which this is.
    access_template, access_logger: how, and to whose handlers, the access log is written;
        without them there is none.
    stuck_after_s, stuck_share: after how long without a response a thread counts as stuck
        (0: never), and which share of the threads makes the server not ready.
    """

    def __init__(
        self,
        server: HTTPServer,
        *,
        snapshots: Snapshots | None = None,
        age: int = 0,
        allowed: Allowed | None = None,
        access_template: Template | JSONTemplate | None = None,
        access_logger: logging.Logger | None = None,
        stuck_after_s: float = vitals.DEFAULT_STUCK_AFTER_S,
        stuck_share: float = vitals.DEFAULT_STUCK_SHARE,
    ) -> None:
        self.server = server
        self.allowed = allowed or Allowed()
        settings = server.native.application.settings
        self.readiness = Readiness(
            {**vitals.database_checks(server), **settings.get("readiness_checks", {})},
            {
                "threads": vitals.threads_check(server, stuck_after_s, stuck_share),
                "live": vitals.live_check(server),
            },
        )
        self._stuck_after_s = stuck_after_s
        self.metrics = settings[METRICS_KEY] = Metrics(server, snapshots, age)
        self.access_log: AccessLog | None = None
        if access_template is not None and access_logger is not None:
            loop = asyncio.get_running_loop()
            self.access_log = AccessLog(access_template, access_logger, loop)
        self._lag_s = 0.0
        counters = server.counters
        counters.hooks.append(self.metrics.requests.count)
        if self.access_log is not None:
            counters.hooks.append(self.access_log.log)
        counters.on_detach = self._on_detach
        settings.setdefault("log_function", no_line)
        add_source(server, self._families)
        server.add_close_callback(self.readiness.stop)
        self.readiness.start()

    def routes(self, prefix: str, own_address: bool = False) -> list[NativeRoute]:
        """Return the native routes of `healthz`, `readyz` and `metrics` under a path prefix.

        own_address: they are served on an address that serves nothing else.
        """
        return routes(prefix, self, own_address)

    def beat(self, lag_s: float) -> None:
        """Write the numbers down; `lag_s` is how late the loop was since the last time."""
        self._lag_s = lag_s
        self.metrics.write()

    def close(self, reason: str) -> None:
        """Write the last numbers and log lines: the process ends."""
        if self.access_log is not None:
            self.access_log.close()
        self.metrics.write(ended=reason)

    def _families(self) -> list[Family]:
        results = self.readiness.results()
        checks = {name: float(result == "ok") for name, result in results.items()}
        ready = not self.server.draining and all(checks.values())
        families = [
            single(GAUGE, "ready", "1 while the worker wants requests.", float(ready)),
            labelled(GAUGE, "readiness_check", "1 while a check is well.", "check", checks),
            single(GAUGE, "loop_lag_seconds", "How late the loop's heartbeat was.", self._lag_s),
        ]
        container = self.server.container
        if container is not None and self._stuck_after_s:
            hanging = container.hanging_longer_than(self._stuck_after_s)
            meaning = "Threads whose request has begun no response for --stuck-after."
            families.append(single(GAUGE, "pool_threads_hanging", meaning, hanging))
        if self.access_log is not None:
            lost = self.access_log.writer.lines_dropped
            meaning = "Lines of the access log that could not be written."
            families.append(single(COUNTER, "access_log_lines_dropped", meaning, lost))
        return families

    def _on_detach(self, finished: Finished) -> EndHook | None:
        log = self.access_log
        for hook in self.server.counters.hooks:
            if log is None or hook != log.log:
                hook(finished)
        return log.log_at_end(finished) if log is not None else None


def routes(
    prefix: str = "/-", operations: Operations | None = None, own_address: bool = False
) -> list[NativeRoute]:
    """Return the native routes of operations; without any, for a table of routes only."""
    path = re.escape(prefix)
    ready: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    if operations is not None:
        ready = {"readiness": operations.readiness, "server": operations.server}
        metrics = {
            "metrics": operations.metrics,
            "allowed": operations.allowed,
            "own_address": own_address,
        }
    return [
        (rf"{path}/healthz", HealthHandler),
        (rf"{path}/readyz", ReadinessHandler, ready),
        (rf"{path}/metrics", MetricsHandler, metrics),
    ]


def install(server: HTTPServer, prefix: str = "/-", **options: Any) -> Operations:
    """Add operations and their routes to a server; `options` are those of `Operations`."""
    operations = Operations(server, **options)
    server.native.add(operations.routes(prefix))  # whose place no mount changes
    return operations
