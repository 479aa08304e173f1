"""The bundled application's server: settings, host, run.

python server.py            serve
python server.py develop    serve in development mode, as `make serve` does
python server.py routes     list the URL map of both halves
python server.py check      validate the settings and reach the database
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from functools import partial

import flasknado
from config import PROJECT_ROOT, Settings, SettingsError, load_settings
from flasknado import AddressTaken, ConfigurationError, Limits

ACCESS_LOGS: dict[str, dict[str, str]] = {
    "off": {},
    "text": {"accesslog": "-"},
    "json": {"accesslog": "-", "access_log_format": "json"},
}
"""gunicorn's settings for each value of `ACCESS_LOG`."""


BODY_LIMITS = {
    "/login": "64K",
    "/logout": "64K",
    "/register": "64K",
    "/api/v1/tokens": "64K",
    "/api/v1/users": "64K",
    # Above what the views themselves take (`webapp.body_limits`): a post has 20,000 characters.
    "/write": "512K",
    "/post": "512K",
    "/api": "512K",
}
"""The largest bodies where forms and JSON are expected; `/attachments` takes files."""


def build(settings: Settings) -> flasknado.HTTPServer:
    """Return the whole system: Flask's half, Tornado's half, one server.

    Raises `ConfigurationError` if the database or the folder for attachments cannot be used.
    """
    # Imported here, in the worker, so that a reload serves the code as it is then.
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)  # chatty at import
    import async_handlers
    from webapp import attachments, create_app, database

    app = create_app(settings)
    try:
        attachments.prepare(app)
        database.migrate_if_needed(app)
    except (attachments.UploadFolderError, database.DatabaseError) as error:
        raise ConfigurationError(str(error)) from error
    return flasknado.HTTPServer(
        flasknado.WSGIContainer(app, threads=settings.threads),
        handlers=async_handlers.routes,
        limits=Limits(
            max_body_bytes=settings.max_body_bytes,
            body_limits=BODY_LIMITS | {"/api/v1/attachments": settings.max_body_bytes},
        ),
        trusted_proxies=map(str, settings.trusted_proxies),
        trusted_fields=settings.trusted_fields,
        trusted_hosts=settings.trusted_hosts,
        settings={"readiness_checks": {"database": partial(database.ping, app)}},
    )


LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(settings: Settings, *, debug: bool = False) -> None:
    """Serve until a signal ends it: TERM drains, INT and QUIT stop at once, HUP reloads.

    debug: whether in development mode, which restarts when code or `.env` changes.
    """
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    flasknado.serve(
        _build,
        bind=f"{host}:{settings.port}",
        workers=settings.workers,
        threads=settings.threads,
        loglevel=settings.log_level,
        log_format=settings.log_format,
        **ACCESS_LOGS[settings.access_log],
        proc_name="flasknado",
        debug=debug,
        reload_extra_files=[str(path) for path in [PROJECT_ROOT / ".env"] if path.is_file()],
    )


def develop(settings: Settings) -> None:
    """Serve in development mode if this is development, and for this machine alone."""
    reasons = {
        f"APP_ENV={settings.app_env}": settings.production,
        f"WORKERS={settings.workers}": settings.workers > 1,
        f"HOST={settings.host}": settings.host not in LOOPBACK,
    }
    against = [reason for reason, holds in reasons.items() if holds]
    if against:
        print(f"Without development mode, because of {', '.join(against)}.")  # noqa: T201
    serve(settings, debug=not against)


def _build() -> flasknado.HTTPServer:
    """Build with the settings as they are now: a reload reads them again."""
    try:
        return build(load_settings())
    except SettingsError as error:
        raise ConfigurationError(str(error)) from error


def routes(settings: Settings) -> None:
    """Print every route of both halves: methods, pattern, half, endpoint or handler."""
    import async_handlers
    from webapp import create_app

    print(flasknado.url_map(create_app(settings), async_handlers.routes))  # noqa: T201


def check(settings: Settings) -> None:
    """Say whether the database answers; raises `ConfigurationError` if not."""
    from webapp import create_app, database

    try:
        database.ping(create_app(settings))
    except database.DatabaseError as error:
        raise ConfigurationError(str(error)) from error
    print(f"The settings are valid ({settings.app_env}) and the database answers.")  # noqa: T201


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    commands: dict[str, Callable[[Settings], None]] = {
        "serve": serve,
        "develop": develop,
        "routes": routes,
        "check": check,
    }
    parser = argparse.ArgumentParser(prog="server.py", description="Flask on Tornado.")
    parser.add_argument("command", nargs="?", default="serve", choices=commands)
    command = parser.parse_args(arguments).command
    try:
        commands[command](load_settings())
    except AddressTaken as error:
        print(f"{error}, as PORT=8001 does", file=sys.stderr)  # noqa: T201
        return 1
    except (SettingsError, ConfigurationError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
