"""Extensions of a Flask application that bring native routes along.

An extension says so when it is initialised, and the server that hosts the application asks it:
no option names its routes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from flask import Flask

PROVIDERS_KEY: Final = "flasknado.routes"
"""Where `app.extensions` holds a list of functions: server to native routes."""

RouteProvider = Callable[[Any], list[Any]]


def provide_routes(app: Flask, provider: RouteProvider) -> None:
    """Have the server that hosts an application serve `provider(http_server)`'s routes."""
    app.extensions.setdefault(PROVIDERS_KEY, []).append(provider)


def provided_routes(app: Flask, http_server: Any) -> list[Any]:
    """Return the routes that an application's extensions bring along."""
    return [
        route
        for provider in app.extensions.get(PROVIDERS_KEY, ())
        for route in provider(http_server)
    ]
