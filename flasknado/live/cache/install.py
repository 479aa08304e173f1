"""Putting the cache in front of a server's container, where an application has cached views."""

from __future__ import annotations

from typing import Any

from flasknado.live.cache.rules import CachedPaths
from flasknado.live.state import LiveState


def install(state: LiveState, http_server: Any) -> list[Any]:
    """Have a server serve the pages of cached views; returns no routes (`provide_routes`).

    Without such views, or without a container, the server stays as it is.
    """
    container = http_server.container
    if container is None or not hasattr(container, "front"):
        return []
    paths = CachedPaths(state.app, container.mount)
    if paths:
        from flasknado.live.cache.front import Front

        container.front = front = Front(state, http_server, paths)
        state.caches.append(front)
    return []
