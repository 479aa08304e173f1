"""Registering, logging in and out with a session cookie, and the page of one's own account."""

from __future__ import annotations

from flask import Flask

from webapp.auth import account  # noqa: F401  its views join the blueprint
from webapp.auth.views import blueprint


def register(app: Flask) -> None:
    """Mount the blueprint."""
    app.register_blueprint(blueprint)
