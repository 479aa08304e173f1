"""What operators ask a server: is it alive, is it ready, what is it doing."""

from __future__ import annotations

import re
from typing import Any

from flasknado.http.router import NativeRoute
from flasknado.http.server import HTTPServer
from flasknado.ops.health import HealthHandler, Readiness, ReadinessHandler
from flasknado.ops.metrics import Metrics, MetricsHandler


def routes(prefix: str = "/-", **settings: Any) -> list[NativeRoute]:
    """Return the native routes of `healthz`, `readyz` and `metrics` under a path prefix.

    `settings` are what their handlers need: `readiness` and `metrics`.
    """
    path = re.escape(prefix)
    return [
        (rf"{path}/healthz", HealthHandler),
        (rf"{path}/readyz", ReadinessHandler, {"readiness": settings.get("readiness")}),
        (rf"{path}/metrics", MetricsHandler, {"metrics": settings.get("metrics")}),
    ]


def install(server: HTTPServer, prefix: str = "/-") -> None:
    """Add the routes to a server and begin its readiness checks.

    Readiness asks the checks in the server's setting `readiness_checks`, a mapping of name
    to callable (`flasknado.ops.health.ReadinessCheck`). On the loop's thread.
    """
    readiness = Readiness(server.native.application.settings.get("readiness_checks", {}))
    server.add_close_callback(readiness.stop)
    readiness.start()
    server.add_handlers(routes(prefix, readiness=readiness, metrics=Metrics(server)))
