"""Putting a server together from a WSGI application, native routes and gunicorn's settings."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from gunicorn.sock import ssl_context

from flasknado.errors import ConfigurationError
from flasknado.flask_apps import flask_app_of
from flasknado.native.routes import NativeRoute
from flasknado.process import settings
from flasknado.process.configuration import about
from flasknado.process.environment import script_name
from flasknado.process.importer import call_factory, import_from_string, takes
from flasknado.process.validators import OF_THE_APPLICATION
from flasknado.server import HTTPServer
from flasknado.stock.container import WSGIContainer
from flasknado.wsgi.run import WSGIApplication


def build_server(application: Any, cfg: Any) -> HTTPServer:
    """Return a server for a WSGI application by gunicorn's settings and ours.

    Raises `ConfigurationError` for what cannot be served.
    """

    def option(name: str) -> Any:
        return settings.option(cfg, name)

    routes: list[NativeRoute] = []
    if option("handlers"):
        with about(cfg, "handlers"):
            routes = import_routes(option("handlers"))
    container = WSGIContainer(
        application,
        threads=cfg.threads,
        queue_limit=option("queue_limit") or None,
        queue_timeout_s=option("queue_timeout"),
        request_timeout_s=option("request_timeout") or None,
        slow_request_s=option("slow_request") or None,
        abandoned_after_s=option("abandoned_after") or None,
        max_loop_streams=option("max_loop_streams"),
        stream_threads=option("stream_threads"),
        stream_grace_s=option("stream_grace"),
        mount=option("mount") or script_name(),
        multiprocess=cfg.workers > 1,
    )
    return HTTPServer(
        container,
        handlers=routes,
        static=static_folders(application, cfg),
        http=option("http_layer"),
        trusted_proxies=cfg.forwarded_allow_ips,
        trusted_fields=option("trusted_fields"),
        secure_schemes=cfg.secure_scheme_headers,
        limits=settings.limits_of(cfg),
        no_keep_alive=cfg.keepalive <= 0,
        ssl_options=ssl_context(cfg) if cfg.is_ssl else None,
    )


def static_folders(application: Any, cfg: Any) -> dict[str, str]:
    """Return the folders of static files by path prefix; raises `ConfigurationError`."""
    folders: dict[str, str] = {}
    with about(cfg, "static"):
        for text in settings.option(cfg, "static"):
            if text == OF_THE_APPLICATION:
                folders |= folders_of(flask_app_of(application))
            else:
                prefix, _, folder = text.partition("=")
                folders[prefix] = folder
    return folders


def folders_of(app: Any) -> dict[str, str]:
    """Return the static folders of a Flask application and its blueprints, by path prefix."""
    folders = {}
    for rule in app.url_map.iter_rules():
        name, _, function = rule.endpoint.rpartition(".")
        prefix, found, converter = rule.rule.rpartition("/<path:")
        if function != "static" or not found or converter != "filename>" or "<" in prefix:
            continue
        if rule.host or rule.subdomain:
            continue  # of some hosts alone
        folder = (app.blueprints[name] if name else app).static_folder
        if folder is not None and prefix and Path(folder).is_dir():
            folders[prefix] = folder
    return folders


def import_application(uri: str) -> WSGIApplication:
    """Return the WSGI application that `MODULE:APP` names (`APP` alone: `application`).

    Raises `ConfigurationError` if it cannot be imported or is not a WSGI application.
    """
    application = import_from_string(uri, default="application")
    if not callable(application):
        raise ConfigurationError(
            f"{uri!r} is of type {type(application).__name__}, not a WSGI application: name a "
            f"callable, such as a Flask app"
        )
    if _is_asgi(application):
        raise ConfigurationError(
            f"{uri!r} is an ASGI application, but this server hosts WSGI applications: name one"
        )
    if not takes(application, object(), object()):
        raise ConfigurationError(
            f"{uri!r} is of type {type(application).__name__} and does not take "
            f"(environ, start_response): if it is a factory, call it, as in {uri + '()'!r}"
        )
    return application  # type: ignore[no-any-return]


def import_routes(uri: str) -> list[NativeRoute]:
    """Return the native routes that `MODULE:ROUTES` names, a list or a function returning one.

    Raises `ConfigurationError` if there are none.
    """
    routes = import_from_string(uri, default="routes")
    if callable(routes) and takes(routes):
        routes = call_factory(uri, routes)
    if not isinstance(routes, (list, tuple)):
        raise ConfigurationError(
            f"{uri!r} is of type {type(routes).__name__}: name a list of Tornado routes, or a "
            f"function that returns one"
        )
    return list(routes)


def _is_asgi(application: Any) -> bool:
    if inspect.iscoroutinefunction(application):
        return True
    return inspect.iscoroutinefunction(getattr(type(application), "__call__", None))  # noqa: B004
