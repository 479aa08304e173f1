"""Flask's coroutines on the event loop of the server: `async def` views, hooks and handlers.

`Flask.async_to_sync` is the method that Flask has for this. Flask's own makes an event loop for
each call; this has the coroutine run on the loop that serves, so that what belongs to a loop (HTTP
clients, database pools) lives as long as the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from flask import Flask, has_request_context, request

from flasknado.errors import CoroutineCancelled
from flasknado.on_loop import HOST_KEY
from flasknado.on_loop.host import LoopHost
from flasknado.threads import runs_a_loop

EXTENSION_KEY = "flasknado.async_views"


def install(app: Flask, host: LoopHost) -> None:
    """Have an application's coroutines run on the loop of its server.

    An application with an `async_to_sync` of its own keeps it.
    """
    hosts = app.extensions.get(EXTENSION_KEY)
    if hosts is None:
        if "async_to_sync" in vars(app) or type(app).async_to_sync is not Flask.async_to_sync:
            return
        hosts = app.extensions[EXTENSION_KEY] = []
        app.async_to_sync = _async_to_sync_of(app, hosts)  # type: ignore[method-assign, assignment]
    hosts[:] = [other for other in hosts if other is not host and other.loop is not None]
    hosts.append(host)


def _async_to_sync_of(
    app: Flask, hosts: list[LoopHost]
) -> Callable[[Callable[..., Coroutine[Any, Any, Any]]], Callable[..., Any]]:
    def async_to_sync(function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            host = _host(hosts)
            if runs_a_loop():
                raise RuntimeError(
                    f"{function!r} was called where an event loop runs, which cannot wait for it: "
                    f"await it instead"
                )
            if host is None:  # nobody serves: a command, or a test's client
                return Flask.async_to_sync(app, function)(*args, **kwargs)
            return host.call(function, *args, **kwargs)

        return call

    return async_to_sync


def _host(hosts: list[LoopHost]) -> LoopHost | None:
    if has_request_context():
        host: LoopHost | None = request.environ.get(HOST_KEY)
        if host is not None:
            if host.loop is not None:
                return host
            if host.stopped:
                raise CoroutineCancelled("the server has stopped")
    return next((host for host in reversed(hosts) if host.loop is not None), None)
