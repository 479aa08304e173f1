"""Flask on Tornado: one process, one port, ordinary views and live endpoints.

    from flasknado import HTTPServer, WSGIContainer

    server = HTTPServer(WSGIContainer(flask_app), handlers=[(r"/clock", ClockHandler)])
    server.listen(8000)

What is exported here and in `flasknado.live` is public (`docs/api.md`), everything else is
internal. The names are imported on first use, so that the Flask side (`flasknado.live`) can
be imported where Tornado's half is not wanted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flasknado.exports import lazily

if TYPE_CHECKING:
    from flasknado.errors import AddressTaken as AddressTaken
    from flasknado.errors import ClientDisconnected as ClientDisconnected
    from flasknado.errors import ConfigurationError as ConfigurationError
    from flasknado.errors import CoroutineCancelled as CoroutineCancelled
    from flasknado.errors import FlasknadoError as FlasknadoError
    from flasknado.http.limits import Limits as Limits
    from flasknado.native.in_flask import in_flask as in_flask
    from flasknado.native.stack import Refused as Refused
    from flasknado.ops.metrics.exposition import read_metrics as read_metrics
    from flasknado.ops.metrics.model import Family as Family
    from flasknado.ops.metrics.sources import add_source as add_source
    from flasknado.process.logger import Logger as Logger
    from flasknado.process.serve import serve as serve
    from flasknado.process.worker import Worker as Worker
    from flasknado.route_table import url_map as url_map
    from flasknado.server import HTTPServer as HTTPServer
    from flasknado.stock.container import WSGIContainer as WSGIContainer
    from flasknado.streaming import json_line as json_line
    from flasknado.streaming import server_sent_event as server_sent_event
    from flasknado.streaming import stream as stream
    from flasknado.uploads.handler import UploadHandler as UploadHandler
    from flasknado.uploads.receivers import Upload as Upload

__version__ = "0.1.0"
__all__ = [
    "AddressTaken",
    "ClientDisconnected",
    "ConfigurationError",
    "CoroutineCancelled",
    "Family",
    "FlasknadoError",
    "HTTPServer",
    "Limits",
    "Logger",
    "Refused",
    "Upload",
    "UploadHandler",
    "WSGIContainer",
    "Worker",
    "add_source",
    "in_flask",
    "json_line",
    "read_metrics",
    "serve",
    "server_sent_event",
    "stream",
    "url_map",
]

if not TYPE_CHECKING:  # else every name would exist for type checkers
    _get = lazily(
        __name__,
        {
            "AddressTaken": "flasknado.errors",
            "ClientDisconnected": "flasknado.errors",
            "ConfigurationError": "flasknado.errors",
            "CoroutineCancelled": "flasknado.errors",
            "Family": "flasknado.ops.metrics.model",
            "FlasknadoError": "flasknado.errors",
            "HTTPServer": "flasknado.server",
            "Limits": "flasknado.http.limits",
            "Logger": "flasknado.process.logger",
            "Refused": "flasknado.native.stack",
            "Upload": "flasknado.uploads.receivers",
            "UploadHandler": "flasknado.uploads.handler",
            "WSGIContainer": "flasknado.stock.container",
            "Worker": "flasknado.process.worker",
            "add_source": "flasknado.ops.metrics.sources",
            "in_flask": "flasknado.native.in_flask",
            "json_line": "flasknado.streaming",
            "read_metrics": "flasknado.ops.metrics.exposition",
            "serve": "flasknado.process.serve",
            "server_sent_event": "flasknado.streaming",
            "stream": "flasknado.streaming",
            "url_map": "flasknado.route_table",
        },
    )

    def __getattr__(name: str) -> object:
        if name == "serve":
            from flasknado.process import environment

            environment.check()  # gunicorn reads it while it is imported
        return _get(name)
