"""The policy of Flask-CORS for pages of other origins, as the live endpoints need it.

Flask-CORS speaks after a view, with the response in hand, and there is none before a stream
begins. So its rules are taken from the function that it has registered with the application,
and asked by its own code. Loop's thread; nothing here blocks.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

from flask import Flask
from werkzeug.datastructures import Headers

log = logging.getLogger("flasknado.live")

ALLOW_ORIGIN = "Access-Control-Allow-Origin"
ALLOW_CREDENTIALS = "Access-Control-Allow-Credentials"
UNREADABLE_KEY = "flasknado.flask_cors_unreadable"


class FlaskCors:
    """What Flask-CORS allows on one path; see `flasknado.live.origins.OriginPolicy`."""

    def __init__(self, app: Flask, path: str) -> None:
        self._app = app
        self._path = path

    def allows(self, origin: str) -> bool:
        """Return whether pages of an origin may read what is public."""
        return bool(self.headers(origin))

    def allows_credentials(self, origin: str) -> bool:
        """Return whether pages of an origin may use the cookies that they send."""
        return ALLOW_CREDENTIALS in self.headers(origin)

    def headers(self, origin: str) -> dict[str, str]:
        """Return the CORS response headers for an origin (Fetch standard, section 3.3.3)."""
        try:
            return self._headers(origin)
        except (AttributeError, ImportError, LookupError, TypeError, ValueError) as error:
            if UNREADABLE_KEY not in self._app.extensions:
                self._app.extensions[UNREADABLE_KEY] = True
                log.error(
                    "the policy of Flask-CORS cannot be read (%s), so no other origin may use the "
                    "live endpoints: put an OriginPolicy into app.extensions",
                    error,
                )
            return {}

    def _headers(self, origin: str) -> dict[str, str]:
        from flask_cors import core

        # The newest releases have the longer name, with a switch for case.
        matches = vars(core).get("try_match_pattern") or vars(core)["try_match"]
        for rules in _rules_of(self._app):
            found = next((o for pattern, o in rules if matches(self._path, pattern)), None)
            if found is None:
                continue
            said = core.get_cors_headers(found, Headers({"Origin": origin}), "GET")
            allowed = said.get(ALLOW_ORIGIN)
            if not allowed:
                continue
            headers = {ALLOW_ORIGIN: str(allowed)}
            if said.get(ALLOW_CREDENTIALS) == "true":
                headers[ALLOW_CREDENTIALS] = "true"
            return headers
        return {}


def flask_cors_of(app: Flask, path: str) -> FlaskCors | None:
    """Return the policy on a path of the application, or `None` if it has no Flask-CORS.

    `path` is percent-encoded, below the application's mount.
    """
    if not any(_is_of_flask_cors(function) for function in _functions(app)):
        return None
    return FlaskCors(app, unquote(path))


def _functions(app: Flask) -> list[Callable[..., Any]]:
    """Return what runs after every request, in the order in which Flask runs it."""
    return app.after_request_funcs.get(None, [])[::-1]


def _is_of_flask_cors(function: object) -> bool:
    return str(getattr(function, "__module__", "")).partition(".")[0] == "flask_cors"


def _rules_of(app: Flask) -> Iterator[list[tuple[Any, Any]]]:
    """Yield the rules of each `CORS(app)`: pairs of path pattern and options."""
    for function in _functions(app):
        if _is_of_flask_cors(function):
            resources = inspect.getclosurevars(function).nonlocals.get("resources")
            if not isinstance(resources, list):
                raise TypeError("its function has no list of resources")
            yield resources
