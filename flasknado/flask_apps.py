"""The Flask applications in a WSGI application, whatever middleware is around them."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flasknado.errors import ConfigurationError

if TYPE_CHECKING:
    from flask import Flask

_WRAPPED_IN = ("app", "wsgi_app", "application", "_app", "__wrapped__", "__self__", "func")


def flask_app_of(wsgi_app: object) -> Flask:
    """Return the Flask application that is, or is wrapped in, a WSGI application.

    Middleware is looked through by the attributes that it usually keeps the application
    in, by the `mounts` of a dispatcher, and by what a function has closed over. Raises
    `ConfigurationError` if none is found.
    """
    found = next(flask_apps_of(wsgi_app), None)
    if found is None:
        raise ConfigurationError(
            f"no Flask application found in {wsgi_app!r}: host a Flask application, "
            f"or keep it in an attribute named 'app' of its middleware"
        )
    return found


def flask_apps_of(wsgi_app: object) -> Iterator[Flask]:
    """Yield the Flask applications in a WSGI application, each once, the outermost first."""
    flask: Any = sys.modules.get("flask")  # which whoever has an application of it has imported
    seen: list[object] = []
    candidates = [] if flask is None else [wsgi_app]
    while candidates:
        candidate = candidates.pop(0)
        if len(seen) == 64 or any(candidate is other for other in seen):
            continue
        seen.append(candidate)
        if isinstance(candidate, flask.Flask):
            yield candidate
        else:
            candidates.extend(_wrapped_in(candidate))


def _wrapped_in(candidate: object) -> Iterator[object]:
    for name in _WRAPPED_IN:
        inner: object = None
        with contextlib.suppress(Exception):  # an attribute may be anybody's code
            inner = getattr(candidate, name, None)
        if inner is not None and (callable(inner) or isinstance(candidate, functools.partial)):
            yield inner
    mounts = getattr(candidate, "mounts", None)
    if isinstance(mounts, dict):
        yield from mounts.values()
    for cell in getattr(candidate, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # nothing is in it yet
            if callable(cell.cell_contents):
                yield cell.cell_contents
