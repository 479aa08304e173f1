"""Registering, logging in and logging out, with a session cookie."""

from __future__ import annotations

from flask import Flask

from webapp.auth.views import blueprint


def register(app: Flask) -> None:
    """Mount the blueprint."""
    app.register_blueprint(blueprint)
