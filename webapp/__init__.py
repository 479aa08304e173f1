"""The Flask half of the bundled application: accounts, posts, comments, pages and a JSON API.

    app = create_app()          # `flask --app webapp run` finds it

It knows nothing of Tornado: the same application runs under any WSGI server and under
`flask run`, where pages simply do not update themselves.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import click
from flask import Flask

from config import Settings, SettingsError, load_settings
from webapp import (
    api,
    auth,
    body_limits,
    channels,
    cli,
    commenting,
    compression,
    cors,
    database,
    errors,
    hooks,
    login_limits,
    native_hooks,
    pages,
    passwords,
    startup,
    tokens,
)
from webapp.extensions import bcrypt, csrf, db, jwt, live

_COOKIE_LIFETIME_S = 14 * 24 * 3600
_ACCESS_TOKEN_LIFETIME_S = 3600
_REFRESH_TOKEN_LIFETIME_S = 30 * 24 * 3600


class CannotStart(SettingsError, click.ClickException):
    """Bad settings; the `flask` command prints the sentence instead of a traceback."""


def create_app(
    settings: Settings | None = None, *, overrides: Mapping[str, Any] | None = None
) -> Flask:
    """Make the application; it opens no database connection before the first request.

    Args:
        settings: read from the environment and `.env` if not given.
        overrides: Flask's own configuration on top, for tests.

    Raises:
        SettingsError: the settings are bad; one sentence for each.
    """
    if settings is None:
        try:
            settings = load_settings()
        except SettingsError as error:
            raise CannotStart(*error.problems) from None
    app = Flask(__name__)
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    _configure(app, settings)
    app.config.from_mapping(overrides or {})

    compression.register(app)
    hooks.register(app)
    database.bind(app, settings)
    for extension in (bcrypt, jwt, csrf):
        extension.init_app(app)
    live.init_app(app, db)
    cors.register(app, settings.cors_origins)
    tokens.register(jwt)
    errors.register(app)
    login_limits.register(app)
    passwords.register(app, settings.threads)
    channels.register()
    commenting.register(app)
    native_hooks.register(app)
    for package in (auth, pages, api):
        package.register(app)
    cli.register(app)
    startup.prepare(app)
    return app


def _configure(app: Flask, settings: Settings) -> None:
    secret = settings.secret_key.get_secret_value()
    app.logger.setLevel(settings.log_level.upper())
    database.configure(app, settings)
    app.config.from_mapping(
        APP_ENV=settings.app_env,
        SECRET_KEY=secret,
        TRUSTED_HOSTS=list(settings.trusted_hosts) or None,
        # The most for any view; what each takes is in body_limits.py.
        MAX_CONTENT_LENGTH=settings.max_body_bytes,
        MAX_FORM_MEMORY_SIZE=body_limits.POST_BYTES,
        MAX_FORM_PARTS=body_limits.MAX_FORM_PARTS,
        # A __Host- cookie is one that no other host of the domain can set (RFC 6265bis, 4.1.3.2).
        SESSION_COOKIE_NAME="__Host-session" if settings.production else "session",
        SESSION_COOKIE_SECURE=settings.production,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=_COOKIE_LIFETIME_S,
        # As long as the session, so that a page left open overnight can still be sent.
        WTF_CSRF_TIME_LIMIT=None,
        # A key of its own, so that a session cookie never passes for a token or the reverse.
        JWT_SECRET_KEY=hmac.new(secret.encode(), b"flasknado jwt", hashlib.sha256).hexdigest(),
        JWT_ACCESS_TOKEN_EXPIRES=_ACCESS_TOKEN_LIFETIME_S,
        JWT_REFRESH_TOKEN_EXPIRES=_REFRESH_TOKEN_LIFETIME_S,
        JWT_ERROR_MESSAGE_KEY="message",
        LOGIN_LIMIT_PER_ADDRESS=settings.login_limit_per_address,
        LOGIN_LIMIT_PER_ACCOUNT_AND_ADDRESS=settings.login_limit_per_account_and_address,
        LOGIN_LIMIT_PER_ACCOUNT=settings.login_limit_per_account,
        REGISTER_LIMIT_PER_ADDRESS=settings.register_limit_per_address,
        JWT_QUERY_STRING_NAME="access_token",
        # An event carries a whole post: each character is at most 12 bytes of JSON.
        LIVE_MAX_DATA_BYTES=256 * 1024,
        LIVE_PRESENCE=["post:*"],
        API_WRITE_LIMIT=settings.api_write_limit,
        TRANSACTION_WARNING_S=settings.transaction_warning_s,
        UPLOAD_DIR=settings.upload_dir,
        THREADS=settings.threads,
        LIVE_HEARTBEAT_S=5,  # a page that has lost its connection says so within ten seconds
        RATELIMIT_HEADERS_ENABLED=True,
        LIVE_PUBLISH_TOKEN=settings.live_publish_token.get_secret_value(),
    )
