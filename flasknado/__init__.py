"""Flask on Tornado: one process, one port, ordinary views and live endpoints.

    from flasknado import HTTPServer, WSGIContainer

    server = HTTPServer(WSGIContainer(flask_app), handlers=[(r"/clock", ClockHandler)])
    server.listen(8000)

The names are imported on first use, so that the Flask side (`flasknado.live`) can be
imported where Tornado's half is not wanted.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flasknado.native.in_flask import in_flask as in_flask
    from flasknado.process.serve import serve as serve
    from flasknado.process.worker import Worker as Worker
    from flasknado.server import HTTPServer as HTTPServer
    from flasknado.stock.container import WSGIContainer as WSGIContainer

__version__ = "0.1.0"
__all__ = ["HTTPServer", "WSGIContainer", "Worker", "in_flask", "serve"]

_HOMES = {
    "HTTPServer": "flasknado.server",
    "WSGIContainer": "flasknado.stock.container",
    "Worker": "flasknado.process.worker",
    "in_flask": "flasknado.native.in_flask",
    "serve": "flasknado.process.serve",
}


def __getattr__(name: str) -> object:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    if name == "serve":
        from flasknado.process import environment

        environment.check()  # gunicorn reads it while it is imported
    return getattr(import_module(home), name)
