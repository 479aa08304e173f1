"""The pages that people read and write."""

from __future__ import annotations

from flask import Flask

from webapp.pages.views import blueprint
from webapp.serializers import timestamp


def register(app: Flask) -> None:
    """Mount the blueprint and give the templates their filters."""
    app.register_blueprint(blueprint)
    app.add_template_filter(timestamp, "timestamp")
