"""What readiness looks at by itself: the threads of the pool, the live log and its database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flasknado.errors import ConfigurationError
from flasknado.flask_apps import flask_app_of
from flasknado.ops.health import QuickCheck
from flasknado.server import HTTPServer

DEFAULT_STUCK_AFTER_S = 60.0
DEFAULT_STUCK_SHARE = 0.5
UNREADABLE_AFTER_S = 5.0
"""For how long the live log may be out of reach, as while its database restarts."""

LIVE_KEY = "live"
"""Where `app.extensions` holds what an application has of `flasknado.live`."""


def live_state_of(server: HTTPServer) -> Any:
    """Return what the hosted application has of `flasknado.live`, if anything."""
    try:
        app = flask_app_of(server.native.application.settings.get("wsgi_app"))
    except ConfigurationError:
        return None
    return app.extensions.get(LIVE_KEY)


def threads_check(server: HTTPServer, after_s: float, share: float) -> QuickCheck:
    """Return a check that fails while too many threads hang; `after_s` 0: none does."""

    def threads() -> bool | None:
        container = server.container
        if container is None or not after_s:
            return None
        limit = container.pool.threads * share
        return container.hanging_longer_than(after_s) < max(limit, 1)

    return threads


def live_check(server: HTTPServer) -> QuickCheck:
    """Return a check that fails while a hub that has been needed cannot read the log."""
    state = live_state_of(server)

    def live() -> bool | None:
        hubs = list(getattr(state, "hubs", {}).values())
        return all(hub.unreadable_s < UNREADABLE_AFTER_S for hub in hubs) if hubs else None

    return live


def database_checks(server: HTTPServer) -> dict[str, Callable[[], object]]:
    """Return a check of the database that live events are in, through the pool of the views."""
    state = live_state_of(server)
    log = getattr(state, "log", None)
    return {"database": log.ping} if log is not None and not log.one_process else {}
