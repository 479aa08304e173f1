"""What operators ask a server: is it alive, is it ready, what is it doing."""

from __future__ import annotations

import re

from flasknado.http.server import HTTPServer
from flasknado.ops.health import HealthHandler, Readiness, ReadinessHandler
from flasknado.ops.metrics import Metrics, MetricsHandler


def install(server: HTTPServer, prefix: str = "/-") -> None:
    """Add `healthz`, `readyz` and `metrics` to a server, under a path prefix.

    Readiness asks the checks in the server's setting `readiness_checks`, a mapping of name
    to callable (`flasknado.ops.health.ReadinessCheck`). On the loop's thread.
    """
    readiness = Readiness(server.native.application.settings.get("readiness_checks", {}))
    server.add_close_callback(readiness.stop)
    readiness.start()
    prefix = re.escape(prefix)
    server.add_handlers(
        [
            (rf"{prefix}/healthz", HealthHandler),
            (rf"{prefix}/readyz", ReadinessHandler, {"readiness": readiness}),
            (rf"{prefix}/metrics", MetricsHandler, {"metrics": Metrics(server)}),
        ]
    )
